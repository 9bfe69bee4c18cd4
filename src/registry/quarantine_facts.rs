//! What the event log is told of devices that a registration or an operator restores, or that another device replaces.

use crate::domain::{
    AppId, CorrectedFact, CorrectionCause, DeviceId, FactKind, QuarantineCause, QuarantineFact,
};
use crate::store::devices::Device;
use crate::store::events::{self, DEVICES_PER_FACT, NewFact};
use crate::store::{self, Session};

/// Tells that these devices are no longer quarantined.
pub(super) async fn restored(
    conn: &mut Session,
    app: AppId,
    mut devices: Vec<DeviceId>,
    cause: CorrectionCause,
) -> Result<(), store::Error> {
    devices.sort_unstable();
    for devices in devices.chunks(DEVICES_PER_FACT as usize) {
        let fact = CorrectedFact { cause, run: None };
        events::append(conn, NewFact { app, kind: FactKind::Restored, devices, fact }).await?;
    }
    Ok(())
}

/// Tells that these devices are quarantined, because other devices replace them.
pub(super) async fn replaced(
    conn: &mut Session,
    app: AppId,
    mut devices: Vec<&Device>,
) -> Result<(), store::Error> {
    devices.sort_unstable_by_key(|device| device.id);
    for devices in devices.chunks(DEVICES_PER_FACT as usize) {
        let quarantined = devices.iter().filter_map(|device| Some((device.id, device.quarantine.as_ref()?)));
        let (mut ids, mut reasons, mut evidence_at) = (Vec::new(), Vec::new(), Vec::new());
        for (id, quarantine) in quarantined {
            ids.push(id);
            reasons.push(quarantine.reason.0.clone());
            evidence_at.push(quarantine.evidence_at);
        }
        let cause = QuarantineCause::Replaced;
        let fact = QuarantineFact { cause, lane: None, run: None, reasons, evidence_at };
        events::append(conn, NewFact { app, kind: FactKind::Quarantined, devices: &ids, fact }).await?;
    }
    Ok(())
}
