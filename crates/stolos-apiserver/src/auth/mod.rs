//! Who is asking (client certificate, bearer token) and whether they may (RBAC).
