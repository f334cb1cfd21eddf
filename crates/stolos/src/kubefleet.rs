//! Runs in the place of KubeFleet's agents: their charts and scripts pass flags that mean nothing here, and tell the member
//! agent by its environment where its hub is.

use std::ffi::{OsStr, OsString};

use anyhow::{Context, bail};
use hyper::header::{HeaderName, HeaderValue};
use kube::config::Kubeconfig;
use serde_json::{Value, json};

/// A flag that is taken and ignored.
struct Ignored {
    name: &'static str,
    /// It takes a value, which may be the next argument.
    has_value: bool,
    why: &'static str,
}

const fn switch(name: &'static str, why: &'static str) -> Ignored {
    Ignored { name, has_value: false, why }
}

const fn value(name: &'static str, why: &'static str) -> Ignored {
    Ignored { name, has_value: true, why }
}

const LOGS: &str = "STOLOS_LOG and --verbose say what is logged";
const RATES: &str = "requests are not limited here; the API server says when it is too much";
const WORKERS: &str = "there are no pools of workers";
const ALWAYS: &str = "it is always on";
const NOT_HERE: &str = "this part does not exist here";
const POLICIES: &str = "ValidatingAdmissionPolicies stand in for webhooks";
const EVENTS: &str = "controllers wake on changes, not on timers";
const PROFILER: &str = "there is no profiler to serve";
const ONE_SERVER: &str = "one address serves both sides: --metrics-bind-address";
const RETRIES: &str = "Works are retried with a growing wait, and at once when something changes";
const PROVIDER: &str = "the resource provider of Azure is not asked";
const PRICES: &str = "prices are not known";

/// Objects of the first version are gone: only `false` can be asked for.
const V1ALPHA1: &str = "enable-v1alpha1-apis";

/// Flags of both agents.
const COMMON: &[Ignored] = &[
    value("v", LOGS),
    switch("add_dir_header", LOGS),
    switch("alsologtostderr", LOGS),
    value("log_backtrace_at", LOGS),
    value("log_dir", LOGS),
    value("log_file", LOGS),
    value("log_file_max_size", LOGS),
    switch("logtostderr", LOGS),
    switch("one_output", LOGS),
    switch("skip_headers", LOGS),
    switch("skip_log_headers", LOGS),
    value("stderrthreshold", LOGS),
    value("vmodule", LOGS),
    value("hub-api-qps", RATES),
    value("hub-api-burst", RATES),
    switch("enable-pprof", PROFILER),
    value("pprof-port", PROFILER),
    switch("enable-v1beta1-apis", ALWAYS),
    switch(V1ALPHA1, "there are none"),
];

/// Flags of the hub agent.
const HUB: &[Ignored] = &[
    value("leader-election-qps", RATES),
    value("leader-election-burst", RATES),
    value("resync-period", EVENTS),
    switch("enable-webhook", POLICIES),
    value("webhook-client-connection-type", POLICIES),
    value("webhook-service-name", POLICIES),
    switch("enable-guard-rail", NOT_HERE),
    value("whitelisted-users", NOT_HERE),
    switch("deny-modify-member-cluster-labels", NOT_HERE),
    switch("enable-pdbs", POLICIES),
    switch("use-cert-manager", POLICIES),
    switch("enable-admission-policy-manager", POLICIES),
    value("admission-policy-manager-config", POLICIES),
    switch("enable-staged-update-run-apis", "the definitions that are installed say what there is"),
    switch("enable-eviction-apis", "the definitions that are installed say what there is"),
    switch("enable-resource-placement", ALWAYS),
    value("work-pending-grace-period", "it has no effect in KubeFleet either"),
    value("concurrent-resource-change-syncs", WORKERS),
    value("max-fleet-size", WORKERS),
    value("max-concurrent-cluster-placement", WORKERS),
    value("rate-limiter-base-delay", RATES),
    value("rate-limiter-max-delay", RATES),
    value("rate-limiter-qps", RATES),
    value("rate-limiter-bucket-size", RATES),
    value("internalserviceexport-retry-interval", EVENTS),
    value("cloud-config", PROVIDER),
];

/// Flags of the member agent.
const MEMBER: &[Ignored] = &[
    value("hub-health-probe-bind-address", ONE_SERVER),
    value("hub-metrics-bind-address", ONE_SERVER),
    value("member-health-probe-bind-address", ONE_SERVER),
    value("member-metrics-bind-address", ONE_SERVER),
    value("hub-pprof-port", PROFILER),
    value("member-api-qps", RATES),
    value("member-api-burst", RATES),
    value("region", PRICES),
    value("cloud-config", "it is only logged in KubeFleet too"),
    switch("enable-work-applier-priority-queue", RETRIES),
    value("work-applier-priority-linear-equation-coeff-a", RETRIES),
    value("work-applier-priority-linear-equation-coeff-b", RETRIES),
    value("work-applier-requeue-rate-limiter-attempts-with-fixed-delay", RETRIES),
    value("work-applier-requeue-rate-limiter-fixed-delay-seconds", RETRIES),
    value("work-applier-requeue-rate-limiter-exponential-base-for-slow-backoff", RETRIES),
    value("work-applier-requeue-rate-limiter-initial-slow-backoff-delay-seconds", RETRIES),
    value("work-applier-requeue-rate-limiter-max-slow-backoff-delay-seconds", RETRIES),
    value("work-applier-requeue-rate-limiter-exponential-base-for-fast-backoff", RETRIES),
    value("work-applier-requeue-rate-limiter-max-fast-backoff-delay-seconds", RETRIES),
    switch(
        "work-applier-requeue-rate-limiter-skip-to-fast-backoff-for-available-or-diff-reported-work-objs",
        RETRIES,
    ),
];

/// A command line without the flags that mean nothing here.
pub(crate) struct Arguments {
    /// What is left.
    pub(crate) args: Vec<OsString>,
    /// Each flag that was taken out, and why.
    pub(crate) ignored: Vec<(&'static str, &'static str)>,
}

/// Takes out of a command line what only KubeFleet's agents understand. The name of a member may come from the
/// environment, as for KubeFleet's.
pub(crate) fn arguments(
    args: impl IntoIterator<Item = OsString>,
    read: impl Fn(&str) -> Option<String>,
) -> Arguments {
    let mut rest = args.into_iter();
    let mut args: Vec<OsString> = rest.by_ref().take(2).collect();
    let role = match args.get(1).and_then(|role| role.to_str()) {
        Some("hub") => HUB,
        Some("member") => MEMBER,
        _ => {
            args.extend(rest);
            return Arguments { args, ignored: Vec::new() };
        }
    };
    let is_member = args[1] == "member";
    let mut ignored = Vec::new();
    while let Some(arg) = rest.next() {
        match flag(&arg, role) {
            Some((flag, has_own_value)) => {
                if flag.has_value && !has_own_value {
                    rest.next();
                }
                ignored.push((flag.name, flag.why));
            }
            None => args.push(arg),
        }
    }
    let starts_with = |arg: &OsString, prefix| arg.to_str().is_some_and(|a| a.starts_with(prefix));
    let is_role = args.get(2).is_none_or(|arg| starts_with(arg, "--") && arg != "--help");
    if is_member
        && is_role
        && !args.iter().any(|arg| starts_with(arg, "--name"))
        && let Some(name) = read("MEMBER_CLUSTER_NAME")
    {
        args.extend(["--name".into(), name.into()]);
    }
    Arguments { args, ignored }
}

/// Returns the flag that an argument is, and whether its value is in it. Go takes one dash for two.
fn flag(arg: &OsStr, role: &'static [Ignored]) -> Option<(&'static Ignored, bool)> {
    let arg = arg.to_str()?;
    let long = arg.strip_prefix("--");
    let text = long.or_else(|| arg.strip_prefix('-'))?;
    let (name, value) =
        text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    // `-v` is ours.
    if name == "v" && long.is_none() && value.is_none() {
        return None;
    }
    if name == V1ALPHA1 && value != Some("false") {
        return None;
    }
    let found = COMMON.iter().chain(role).find(|flag| flag.name == name)?;
    Some((found, value.is_some()))
}

/// How a member agent of KubeFleet is told to reach its hub.
pub(crate) struct Hub {
    pub(crate) kubeconfig: Kubeconfig,
    /// Sent with every request.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

/// Returns what the environment says of the hub; nothing if it names none.
///
/// # Errors
/// When it names one, but not all that is needed to reach it.
pub(crate) fn hub(
    read: impl Fn(&str) -> Option<String>,
    by_certificate: bool,
    insecure: bool,
) -> anyhow::Result<Option<Hub>> {
    let given = |name: &str| read(name).filter(|value| !value.is_empty());
    let needed = |name: &str, what: &str| {
        given(name).with_context(|| format!("HUB_SERVER_URL is set, but {name} ({what}) is not"))
    };
    let Some(server) = given("HUB_SERVER_URL") else { return Ok(None) };
    let user = if by_certificate {
        json!({
            "client-certificate": needed("IDENTITY_CERT", "file of the certificate")?,
            "client-key": needed("IDENTITY_KEY", "file of its key")?,
        })
    } else {
        json!({"tokenFile": needed("CONFIG_PATH", "file of the token")?})
    };
    let mut cluster = json!({"server": server});
    match (insecure, given("CA_BUNDLE"), given("HUB_CERTIFICATE_AUTHORITY")) {
        (true, ..) => cluster["insecure-skip-tls-verify"] = Value::Bool(true),
        (false, Some(_), Some(_)) => {
            bail!("CA_BUNDLE and HUB_CERTIFICATE_AUTHORITY are both set; one of them is enough")
        }
        (false, Some(file), None) => cluster["certificate-authority"] = Value::String(file),
        (false, None, Some(data)) => cluster["certificate-authority-data"] = Value::String(data),
        (false, None, None) => {}
    }
    let kubeconfig = serde_json::from_value(json!({
        "clusters": [{"name": "hub", "cluster": cluster}],
        "users": [{"name": "agent", "user": user}],
        "contexts": [{"name": "hub", "context": {"cluster": "hub", "user": "agent"}}],
        "current-context": "hub",
    }))
    .context("failed to read how to reach the hub from the environment")?;
    let headers = given("HUB_KUBE_HEADER").map(|text| headers(&text)).transpose()?;
    Ok(Some(Hub { kubeconfig, headers: headers.unwrap_or_default() }))
}

/// Reads headers, one a line.
fn headers(text: &str) -> anyhow::Result<Vec<(HeaderName, HeaderValue)>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.trim().parse().ok()?, value.trim().parse().ok()?))
    };
    let read = |line| {
        header(line).context("HUB_KUBE_HEADER has a line that is not of the form `Name: value`")
    };
    lines.map(read).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parsed(line: &str, name: Option<&str>) -> Result<(Cli, Vec<&'static str>), String> {
        let args = line.split_whitespace().map(OsString::from);
        let read = |key: &str| (key == "MEMBER_CLUSTER_NAME").then_some(name?.to_owned());
        let Arguments { args, ignored } = arguments(args, read);
        let cli = Cli::try_parse_from(args).map_err(|error| error.to_string())?;
        Ok((cli, ignored.into_iter().map(|(name, _)| name).collect()))
    }

    #[test]
    fn the_hub_takes_every_flag_of_the_hub_agent_and_its_chart() {
        let line = "stolos hub --leader-elect=true --leader-lease-duration=60s --leader-renew-deadline=45s \
            --leader-retry-period=5s --leader-election-namespace=fleet-system --leader-election-qps=250 \
            --leader-election-burst=1000 --health-probe-bind-address=:8081 --metrics-bind-address=:8080 \
            --enable-pprof=true --pprof-port=6065 --hub-api-qps=250 --hub-api-burst=1000 --resync-period=6h \
            --enable-webhook=true --webhook-client-connection-type=service --webhook-service-name=fleetwebhook \
            --enable-guard-rail=true --whitelisted-users=system:serviceaccount:fleet-system:hub-agent-sa \
            --deny-modify-member-cluster-labels=false --enable-workload=false --enable-pdbs=true \
            --use-cert-manager=true --enable-admission-policy-manager=false \
            --admission-policy-manager-config= --enable-v1beta1-apis=true --enable-cluster-inventory-apis=true \
            --enable-staged-update-run-apis=true --enable-eviction-apis=true --enable-resource-placement=true \
            --networking-agents-enabled=false --cluster-unhealthy-threshold=3m0s --force-delete-wait-time=15m0s \
            --work-pending-grace-period=15s --skipped-propagating-apis=a.b/v1 --skipped-propagating-namespaces=x \
            --concurrent-resource-change-syncs=20 --max-fleet-size=100 --max-concurrent-cluster-placement=100 \
            --rate-limiter-base-delay=5ms --rate-limiter-max-delay=60s --rate-limiter-qps=10 \
            --rate-limiter-bucket-size=100 --resource-snapshot-creation-minimum-interval=30s \
            --resource-changes-collection-duration=15s --internalserviceexport-retry-interval=2s \
            --cloud-config=/etc/kubernetes/provider/azure.json --enable-v1alpha1-apis=false --v=5 -add_dir_header --log_file_max_size 10";
        let (cli, ignored) = parsed(line, None).unwrap();
        let Command::Hub(args) = cli.command else { panic!("another command") };
        assert_eq!(args.leader.times().unwrap(), stolos_controller::leader::Times::default());
        assert_eq!(args.observe.metrics_bind_address.unwrap().port(), 8080);
        assert_eq!(args.observe.health_probe_bind_address.unwrap().port(), 8081);
        assert!(args.leader.is_wanted());
        let real = [
            "leader-elect",
            "leader-election-namespace",
            "metrics-bind-address",
            "enable-workload",
            "force-delete-wait-time",
        ];
        assert!(real.iter().all(|name| !ignored.contains(name)), "{ignored:?}");
        for name in ["v", "add_dir_header", "log_file_max_size", "enable-guard-rail"] {
            assert!(ignored.contains(&name), "{name}");
        }
    }

    #[test]
    fn the_member_takes_every_flag_of_the_member_agent_and_its_chart() {
        let requeue = "--work-applier-requeue-rate-limiter-";
        let line = format!(
            "stolos member --leader-elect=true --hub-health-probe-bind-address=:8081 \
            --hub-metrics-bind-address=:8080 --member-health-probe-bind-address=:8091 \
            --member-metrics-bind-address=:8090 --enable-v1alpha1-apis=false --health-probe-bind-address=:8091 --metrics-bind-address=:8090 \
            --hub-api-qps=50 --hub-api-burst=500 --member-api-qps=250 --member-api-burst=1000 --enable-pprof=false \
            --pprof-port=6065 --hub-pprof-port=6066 --leader-lease-duration=15s --leader-renew-deadline=10s \
            --leader-retry-period=2s --leader-election-namespace=kube-system --use-ca-auth=false \
            --tls-insecure=true --enable-v1beta1-apis=true --region=westeurope --property-provider=azure \
            --cloud-config=/etc/kubernetes/provider/config.json --use-cost-properties-in-azure-provider=true \
            --use-available-res-properties-in-azure-provider=true \
            --enable-namespace-collection-in-property-provider=true --deletion-wait-time=5 \
            --enable-work-applier-priority-queue=false --work-applier-priority-linear-equation-coeff-a=-3 \
            --work-applier-priority-linear-equation-coeff-b 100 {requeue}attempts-with-fixed-delay=1 \
            {requeue}fixed-delay-seconds=5 {requeue}exponential-base-for-slow-backoff=1.2 \
            {requeue}initial-slow-backoff-delay-seconds=2 {requeue}max-slow-backoff-delay-seconds=15 \
            {requeue}exponential-base-for-fast-backoff=1.5 {requeue}max-fast-backoff-delay-seconds=900 \
            {requeue}skip-to-fast-backoff-for-available-or-diff-reported-work-objs=true --v=5 -add_dir_header"
        );
        let (cli, _) = parsed(&line, Some("east")).unwrap();
        let Command::Member(args) = cli.command else { panic!("another command") };
        assert_eq!(args.name.as_deref(), Some("east"));
        assert!(args.identity.tls_insecure && !args.identity.use_ca_auth);
        assert!(args.enable_namespace_collection_in_property_provider);
        assert_eq!(args.property_provider, "azure");
        assert!(args.use_cost_properties_in_azure_provider);
        let wanted = ["lease-duration=15s", "renew-deadline=10s", "retry-period=2s"];
        assert!(wanted.iter().all(|flag| line.contains(flag)) && args.leader.times().is_ok());
    }

    #[test]
    fn only_the_roles_take_them_and_what_is_wrong_stays_wrong() {
        assert!(parsed("stolos placement list --v=5", None).is_err());
        assert!(parsed("stolos hub --hub-api-qsp=5", None).is_err());
        assert!(parsed("stolos hub --enable-v1alpha1-apis", None).is_err());
        assert!(parsed("stolos hub --enable-v1alpha1-apis=true", None).is_err());
        let (cli, ignored) = parsed("stolos hub -v", None).unwrap();
        assert!(cli.global.verbose && ignored.is_empty());
        let Command::Member(args) = parsed("stolos member list", Some("east")).unwrap().0.command
        else {
            panic!("another command")
        };
        assert!(args.command.is_some() && args.name.is_none());
    }

    #[test]
    fn times_of_a_lease_that_do_not_fit_are_refused() {
        let (cli, _) = parsed("stolos hub --leader-lease-duration=30s", None).unwrap();
        let Command::Hub(args) = cli.command else { panic!("another command") };
        let error = format!("{:#}", args.leader.times().unwrap_err());
        assert!(error.contains("--leader-renew-deadline") && error.contains("45s"), "{error}");
    }

    #[test]
    fn a_lease_is_held_unless_it_is_not_wanted() {
        for (flags, want) in [
            ("", true),
            ("--leader-elect", true),
            ("--leader-elect=false", false),
            ("--no-leader-election", false),
        ] {
            let (cli, _) = parsed(&format!("stolos hub {flags}"), None).unwrap();
            let Command::Hub(args) = cli.command else { panic!("another command") };
            assert_eq!(args.leader.is_wanted(), want, "{flags}");
        }
    }

    fn told(values: &[(&str, &str)], by_certificate: bool) -> Result<Option<Hub>, String> {
        let read = |name: &str| {
            values.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        hub(read, by_certificate, false).map_err(|error| error.to_string())
    }

    #[test]
    fn the_environment_tells_where_the_hub_is() {
        assert!(told(&[("CONFIG_PATH", "/config/token")], false).unwrap().is_none());
        let token = [
            ("HUB_SERVER_URL", "https://hub:6443"),
            ("CONFIG_PATH", "/config/token"),
            ("HUB_CERTIFICATE_AUTHORITY", "Y2E="),
            ("HUB_KUBE_HEADER", "X-One: 1\nX-Two: 2"),
        ];
        let Hub { kubeconfig, headers } = told(&token, false).unwrap().unwrap();
        let cluster = kubeconfig.clusters[0].cluster.as_ref().unwrap();
        assert_eq!(cluster.server.as_deref(), Some("https://hub:6443"));
        assert_eq!(cluster.certificate_authority_data.as_deref(), Some("Y2E="));
        let user = kubeconfig.auth_infos[0].auth_info.as_ref().unwrap();
        assert_eq!(user.token_file.as_deref(), Some("/config/token"));
        let headers: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(headers, ["x-one", "x-two"]);

        let certificate = [
            ("HUB_SERVER_URL", "https://hub:6443"),
            ("IDENTITY_CERT", "/tls/crt"),
            ("IDENTITY_KEY", "/tls/key"),
            ("CA_BUNDLE", "/tls/ca"),
        ];
        let found = told(&certificate, true).unwrap().unwrap().kubeconfig;
        let user = found.auth_infos[0].auth_info.as_ref().unwrap();
        assert_eq!(user.client_certificate.as_deref(), Some("/tls/crt"));
        assert_eq!(user.client_key.as_deref(), Some("/tls/key"));
    }

    #[test]
    fn what_the_environment_lacks_is_named() {
        let url = ("HUB_SERVER_URL", "https://hub:6443");
        for (values, by_certificate, want) in [
            (vec![url], false, "CONFIG_PATH"),
            (vec![url, ("IDENTITY_CERT", "x")], true, "IDENTITY_KEY"),
            (
                vec![
                    url,
                    ("CONFIG_PATH", "x"),
                    ("CA_BUNDLE", "x"),
                    ("HUB_CERTIFICATE_AUTHORITY", "x"),
                ],
                false,
                "one of them is enough",
            ),
            (vec![url, ("CONFIG_PATH", "x"), ("HUB_KUBE_HEADER", "x")], false, "Name: value"),
        ] {
            let error = told(&values, by_certificate).err().unwrap();
            assert!(error.contains(want), "{error}");
        }
    }
}
