//! An independent APNs, FCM and OAuth server over real TLS and HTTP/2, with a script and a ledger.
