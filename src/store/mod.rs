//! All the SQL, checked at compile time, as functions over a connection.
