//! Firebase Cloud Messaging, HTTP v1: credential, request, response.
