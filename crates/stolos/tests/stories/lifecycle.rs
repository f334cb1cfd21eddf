//! Starting, stopping, crashing, starting again.

use serde_json::Value;

use crate::backend::{STOLOS, Up, stolos};

#[test]
fn the_ready_line_names_every_cluster_and_nothing_that_is_not_there() {
    let Some(mut up) = Up::start(2) else { return };
    assert_eq!(up.ready["event"], "ready");
    assert!(up.ready["hub"].as_str().is_some_and(|url| url.starts_with("https://127.0.0.1:")));
    let names: Vec<&Value> =
        up.ready["members"].as_array().expect("a list").iter().map(|m| &m["name"]).collect();
    assert_eq!(names, ["member-1", "member-2"]);
    assert!(up.ready["rest"].is_null() && up.ready["console"].is_null());
    let ca = up.ready["ca"].as_str().expect("a path").to_owned();
    assert!(std::fs::read_to_string(ca).expect("the file is there").contains("BEGIN CERTIFICATE"));
    for context in ["hub", "member-1", "member-2"] {
        assert_eq!(up.kubectl(context).run(&["get", "--raw", "/readyz"]), "ok");
    }
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn members_join_and_carry_their_labels() {
    let Some(up) = Up::start(2) else { return };
    let hub = up.kubectl("hub");
    let member = hub.wait_for("the nodes are counted", &["membercluster", "member-1"], |member| {
        member["status"]["properties"]["kubernetes-fleet.io/node-count"]["value"] == "2"
    });
    let labels = &member["metadata"]["labels"];
    assert_eq!(labels["fleet.azure.com/member-name"], "member-1");
    assert_eq!(labels["kubernetes-fleet.io/member-name"], "member-1");
    assert!(hub.run(&["get", "memberclusters"]).contains("JOINED"));
    let nodes = up.kubectl("member-2").run(&["get", "nodes", "-o", "wide"]);
    assert!(nodes.contains("member-2-node-1") && nodes.contains("Ready"), "{nodes}");
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let Some(mut up) = Up::start(1) else { return };
    let created: Vec<String> = (0..10).map(|n| format!("note-{n}")).collect();
    for name in &created {
        up.kubectl("hub").run(&["create", "configmap", name, "--from-literal=k=v"]);
    }
    up.kubectl("member-1").run(&["create", "deployment", "web", "--image=nginx"]);
    up.kill();
    up.restart();
    let found = up.kubectl("hub").run(&["get", "configmaps", "-o", "name"]);
    assert!(created.iter().all(|name| found.contains(name)), "{found}");
    up.kubectl("member-1").run(&["rollout", "status", "deployment/web", "--timeout=30s"]);
}

#[test]
fn only_one_process_uses_a_data_directory() {
    let Some(up) = Up::start(1) else { return };
    let second = stolos(&["up", "--base-port", "0", "--data-dir", up.data_dir()], None);
    assert_eq!(second.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&second.stderr);
    assert!(
        stderr.contains("is in use by another process") && stderr.contains("hint:"),
        "{stderr}"
    );
    // The first one does not mind.
    up.kubectl("hub").run(&["get", "namespaces"]);
}

#[test]
fn a_start_never_removes_members() {
    let Some(mut up) = Up::start(2) else { return };
    up.stop();
    let fewer =
        stolos(&["up", "--base-port", "0", "--members", "1", "--data-dir", up.data_dir()], None);
    assert_eq!(fewer.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&fewer.stderr);
    assert!(stderr.contains("fewer than the 2 members"), "{stderr}");
}

#[test]
fn a_damaged_store_is_left_as_it_is() {
    let Some(mut up) = Up::start(1) else { return };
    up.stop();
    let store = std::path::Path::new(up.data_dir()).join("store");
    let file = std::fs::read_dir(&store)
        .expect("the store is there")
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .max_by_key(|path| path.metadata().map_or(0, |meta| meta.len()))
        .expect("the store has a file");
    let damaged = vec![0x5a_u8; 64 * 1024];
    std::fs::write(&file, &damaged).expect("the file can be written");
    let again = stolos(&["up", "--base-port", "0", "--data-dir", up.data_dir()], None);
    assert_eq!(again.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&again.stderr);
    assert!(stderr.contains("damaged") && !stderr.contains("panicked"), "{stderr}");
    assert_eq!(std::fs::read(&file).expect("the file is there"), damaged);
}

#[test]
fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").port();
    let base = (port - 1).to_string();
    let output = stolos(&["up", "--ephemeral", "--base-port", &base], None);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains(&format!("port {port} on 127.0.0.1 is in use")), "{stderr}");
    assert!(stderr.contains("hint: choose other ports with --base-port"), "{stderr}");
}

#[test]
fn a_wrong_flag_is_a_usage_error() {
    for args in [&["up", "--wrong"][..], &["up", "--members", "none"], &["fly"]] {
        let output = stolos(args, None);
        assert_eq!(output.status.code(), Some(2), "{STOLOS} {args:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("error:"));
    }
}
