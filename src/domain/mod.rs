//! Values and rules of the field: ids, notifications, devices, lanes, jobs, outcomes. No I/O.
