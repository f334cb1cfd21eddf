//! Listening: TLS, HTTP/1.1 and HTTP/2, certificates, kubeconfig.
