//! `auth`, `certificate`, tokens, `config`, `proxy`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use super::{with_every_version, with_oldest_and_newest};

#[test]
fn auth_asks_the_server() {
    with_every_version(|kubectl| {
        assert_eq!(kubectl.run("auth can-i create pods"), "yes\n");
        assert_eq!(kubectl.run("auth can-i get /healthz"), "yes\n");
        if kubectl.minor() >= 28 {
            // Older ones know only the beta of the review.
            let whoami = kubectl.run("auth whoami -o 'jsonpath={.status.userInfo.groups}'");
            assert!(whoami.contains("system:masters"), "{whoami}");
        }
        let ann = "--as=ann --as-group=team";
        let output = kubectl.output(&format!("auth can-i list secrets {ann}"));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "no\n");
        kubectl.feed(
            "auth reconcile -f -",
            &"---\n{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: r, namespace: NS}, \
              rules: [{apiGroups: [''], resources: [secrets], verbs: [list, get]}]}\n\
             ---\n{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: b, namespace: NS}, \
              roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: r}, \
              subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: team}]}"
                .replace("NS", kubectl.namespace()),
        );
        let narrower = "{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: r, namespace: NS}, \
                        rules: [{apiGroups: [''], resources: [configmaps], verbs: [get]}]}";
        kubectl.feed("auth reconcile -f -", &narrower.replace("NS", kubectl.namespace()));
        assert!(
            kubectl.value("role r", ".rules[*].resources").contains("secrets"),
            "rights are added, none are taken"
        );
        assert_eq!(kubectl.run(&format!("auth can-i list secrets {ann}")), "yes\n");
        let list = kubectl.run(&format!("auth can-i --list {ann}"));
        assert!(
            list.lines().any(|l| l.starts_with("secrets ") && l.ends_with("[list get]")),
            "{list}"
        );
        assert_eq!(kubectl.run(&format!("get secrets {ann} -o name")), "");
        let error = kubectl.fail(&format!("get pods {ann}"));
        let ns = kubectl.namespace();
        assert_eq!(
            error,
            format!(
                "Error from server (Forbidden): pods is forbidden: User \"ann\" cannot list resource \"pods\" in API group \"\" in the namespace \"{ns}\"\n"
            )
        );
    });
}

#[test]
fn tokens_are_made_and_accepted() {
    with_oldest_and_newest(|kubectl| {
        kubectl.run("create serviceaccount robot");
        let token = kubectl.run("create token robot --duration=15m");
        assert_eq!(token.trim().split('.').count(), 3, "{token}");
        let error = kubectl.fail("create token nobody");
        assert!(error.contains("serviceaccounts \"nobody\" not found"), "{error}");
        let error = kubectl.fail("create token robot --duration=1s");
        assert!(error.contains("may not specify a duration less than 10 minutes"), "{error}");
    });
}

#[test]
fn certificate_requests_are_approved_and_denied() {
    with_oldest_and_newest(|kubectl| {
        for (verdict, condition) in [("approve", "Approved"), ("deny", "Denied")] {
            let name = format!("{}-{verdict}", kubectl.namespace());
            kubectl.feed("create -f -", &format!(
                "{{apiVersion: certificates.k8s.io/v1, kind: CertificateSigningRequest, metadata: {{name: {name}}}, \
                 spec: {{signerName: example.com/signer, usages: [client auth], request: {REQUEST}}}}}"
            ));
            kubectl.run(&format!("certificate {verdict} {name}"));
            assert_eq!(
                kubectl.value(&format!("csr {name}"), ".status.conditions[0].type"),
                condition
            );
            let table = kubectl.run(&format!("get csr {name}"));
            assert!(table.contains("example.com/signer") && table.contains(condition), "{table}");
            kubectl.run(&format!("delete csr {name}"));
        }
    });
}

/// A certificate request of `CN=someone` in PEM, in base64 as the API has bytes.
const REQUEST: &str = include_str!("request.b64");

#[test]
fn config_is_read_and_changed_locally() {
    with_oldest_and_newest(|kubectl| {
        let file = kubectl.file("other-config", "");
        let config = |rest: &str| kubectl.run(&format!("config {rest}")).trim().to_owned();
        let current = config("current-context");
        assert!(config("get-contexts -o name").contains(&current));
        assert!(config("view --minify").contains("server: https://"));
        let other = |rest: &str| kubectl.run(&format!("config --kubeconfig={file} {rest}"));
        other("set-cluster c --server=https://127.0.0.1:1");
        other("set-context x --cluster=c --user=u");
        other("use-context x");
        assert!(other("view").contains("current-context: x"));
    });
}

#[test]
fn the_proxy_lets_plain_http_through() {
    with_oldest_and_newest(|kubectl| {
        let mut proxy = kubectl.start("proxy --port=0");
        let mut line = String::new();
        BufReader::new(proxy.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit(' ').next().unwrap().to_owned();
        let mut stream = TcpStream::connect(&address).unwrap();
        let request =
            format!("GET /version HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        proxy.kill().unwrap();
        proxy.wait().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("gitVersion"), "{answer}");
    });
}
