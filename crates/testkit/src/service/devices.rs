//! Devices of a [`TestService`].

use serde_json::Value;

use super::TestService;
use crate::answer::Answer;
use crate::json::text;

/// Requests about devices.
#[derive(Clone, Copy)]
pub struct Devices<'a> {
    service: &'a TestService,
}

impl TestService {
    pub fn devices(&self) -> Devices<'_> {
        Devices { service: self }
    }
}

impl Devices<'_> {
    /// Registers a device with a backend's key; answers its id.
    pub async fn register(self, body: Value) -> String {
        let answer = self.service.put("/v1/devices", body).await;
        assert!(answer.status.is_success(), "{answer:?}");
        text(&answer.body["id"])
    }

    /// Registers a device with the key that phones have.
    pub async fn register_by_phone(self, body: Value) -> Answer {
        self.service.put_by_phone("/v1/devices", body).await
    }
}
