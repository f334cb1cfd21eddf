//! Every generator of `create`, and `run`, `expose`, `autoscale`.

use super::{with_every_version, with_oldest_and_newest};
use crate::cluster::some_credentials;

#[test]
fn each_generator_makes_its_kind() {
    with_every_version(|kubectl| {
        let ns = kubectl.namespace();
        let file = kubectl.file("words.txt", "words\n");
        let credentials = some_credentials();
        let certificate = kubectl.file("tls.crt", &credentials.certificate);
        let key = kubectl.file("tls.key", &credentials.key);
        for (line, made) in [
            (format!("create configmap c --from-literal=k=v --from-file={file}"), "configmap/c"),
            ("create secret generic s --from-literal=k=v".into(), "secret/s"),
            (format!("create secret tls t --cert={certificate} --key={key}"), "secret/t"),
            ("create secret docker-registry r --docker-server=x --docker-username=u --docker-password=p".into(), "secret/r"),
            ("create serviceaccount robot".into(), "serviceaccount/robot"),
            ("create role reader --verb=get,list --resource=pods,deployments.apps/scale".into(), "role.rbac.authorization.k8s.io/reader"),
            ("create rolebinding readers --role=reader --group=g --user=u --serviceaccount=default:d".into(), "rolebinding.rbac.authorization.k8s.io/readers"),
            (format!("create clusterrole {ns}-all --verb=get --non-resource-url=/logs/*"), "clusterrole"),
            (format!("create clusterrolebinding {ns}-all --clusterrole=view --user=u"), "clusterrolebinding"),
            ("create deployment web --image=web:1 --replicas=0 --port=80".into(), "deployment.apps/web"),
            ("create job once --image=i -- true".into(), "job.batch/once"),
            ("create cronjob often --image=i '--schedule=*/5 * * * *'".into(), "cronjob.batch/often"),
            ("create job now --from=cronjob/often".into(), "job.batch/now"),
            ("create ingress in '--rule=example.com/path*=web:80,tls=t' --class=c".into(), "ingress.networking.k8s.io/in"),
            ("create quota q --hard=pods=9,services=9".into(), "resourcequota/q"),
            ("create poddisruptionbudget p --selector=app=web --min-available=50%".into(), "poddisruptionbudget.policy/p"),
            (format!("create priorityclass {ns}-high --value=7 --description=d"), "priorityclass"),
            ("create service clusterip ip --tcp=80:8080".into(), "service/ip"),
            ("create service clusterip none --clusterip=None".into(), "service/none"),
            ("create service nodeport node --tcp=80".into(), "service/node"),
            ("create service loadbalancer lb --tcp=80".into(), "service/lb"),
            ("create service externalname ext --external-name=example.com".into(), "service/ext"),
            ("run pod --image=i --labels=a=b --env=K=V --port=80 --restart=Never -- args".into(), "pod/pod"),
            ("expose deployment web --port=80 --target-port=8080".into(), "service/web"),
        ] {
            let output = kubectl.run(&line);
            assert!(output.starts_with(made) && output.trim_end().ends_with("ed"), "{line}: {output}");
        }
        kubectl.run("autoscale deployment web --min=1 --max=3 --cpu-percent=80");
        assert_eq!(kubectl.value("hpa web", ".spec.maxReplicas"), "3");
        assert_eq!(kubectl.value("configmap c", ".data.words\\.txt"), "words\n");
        assert_eq!(kubectl.value("secret t", ".type"), "kubernetes.io/tls");
        assert_eq!(kubectl.value("service none", ".spec.clusterIP"), "None");
        assert_eq!(kubectl.value("service web", ".spec.ports[0].targetPort"), "8080");
        assert_eq!(kubectl.value("job now", ".spec.template.spec.containers[0].image"), "i");
        assert_eq!(kubectl.value("role reader", ".rules[1].resources[0]"), "deployments/scale");
        assert_eq!(kubectl.value("pod pod", ".status.phase"), "Pending");
        let error = kubectl.fail("create configmap c");
        assert_eq!(error, "error: failed to create configmap: configmaps \"c\" already exists\n");
        kubectl.run(&format!(
            "delete clusterrole/{ns}-all clusterrolebinding/{ns}-all priorityclass/{ns}-high"
        ));
    });
}

#[test]
fn dry_runs_print_and_make_nothing() {
    with_oldest_and_newest(|kubectl| {
        for kind in ["client", "server"] {
            let output =
                kubectl.run(&format!("create deployment d --image=i --dry-run={kind} -o yaml"));
            assert!(output.contains("kind: Deployment"), "{output}");
            assert_eq!(output.contains("uid:"), kind == "server", "{output}");
        }
        assert!(!kubectl.exists("deployment d"));
    });
}

#[test]
fn names_are_generated_and_manifests_checked() {
    with_oldest_and_newest(|kubectl| {
        let generated = "{apiVersion: v1, kind: ConfigMap, metadata: {generateName: made-}}";
        let one = kubectl.feed("create -f - -o name", generated);
        let other = kubectl.feed("create -f - -o name", generated);
        assert!(one.starts_with("configmap/made-") && one != other, "{one}{other}");
        let unknown = "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, daat: {}}";
        let error = kubectl.fail_fed("create -f -", unknown);
        assert!(error.contains("unknown field \"daat\""), "{error}");
        let output = kubectl.fed_stderr("create --validate=warn -f -", unknown);
        assert!(output.contains("Warning: unknown field \"daat\""), "{output}");
    });
}
