//! All the SQL, checked at compile time, as functions over a connection, in verbs.
//!
//! One file per subject. With `DATABASE_URL` unset the macros read the committed `.sqlx`; `make sqlx` writes it anew.
