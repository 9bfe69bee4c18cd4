//! TLS and HTTP/2 connections to one origin, and their pool. Knows no provider.
