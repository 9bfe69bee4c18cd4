//! Traces: which requests are recorded, what becomes of spans, and how little a collector can do to the service.

mod collectors;
mod links;
mod off;
mod requests;
mod webhooks;
mod whole;
