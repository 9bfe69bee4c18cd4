//! Apple Push Notification service: credential, request, response.
