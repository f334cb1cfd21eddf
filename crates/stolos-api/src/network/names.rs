//! Names that the `network` wing reads and writes: finalizers, annotations, labels, conditions, reasons, events.

/// Finalizers.
pub mod finalizer {
    /// On a ServiceExport: its InternalServiceExport goes first.
    pub const SERVICE_EXPORT: &str = "networking.fleet.azure.com/svc-export-cleanup";
    /// On an InternalServiceExport: the ServiceImport forgets the cluster first.
    pub const INTERNAL_SERVICE_EXPORT: &str =
        "networking.fleet.azure.com/internal-svc-export-cleanup";
    /// On an EndpointSliceExport: its copies for importing members go first.
    pub const ENDPOINT_SLICE_EXPORT: &str =
        "networking.fleet.azure.com/endpointsliceexport-cleanup";
    /// On an EndpointSliceImport: the EndpointSlice of the importing member goes first.
    pub const ENDPOINT_SLICE_IMPORT: &str =
        "networking.fleet.azure.com/endpointsliceimport-cleanup";
    /// On an InternalServiceImport: its claim is withdrawn first.
    pub const INTERNAL_SERVICE_IMPORT: &str =
        "networking.fleet.azure.com/internalsvcimport-cleanup";
    /// On a ServiceImport: on the hub while it is claimed, on a member until its InternalServiceImport is gone.
    pub const SERVICE_IMPORT: &str = "networking.fleet.azure.com/serviceimport-cleanup";
    /// On a MultiClusterService: its derived Service and its ServiceImport go first.
    pub const MULTI_CLUSTER_SERVICE: &str = "networking.fleet.azure.com/service-resources-cleanup";
    /// On a TrafficManagerProfile or TrafficManagerBackend: its series are dropped first.
    pub const METRICS: &str = "networking.fleet.azure.com/metrics-cleanup";
    /// On a TrafficManagerProfile: the provider's profile goes first.
    pub const TRAFFIC_MANAGER_PROFILE: &str =
        "networking.fleet.azure.com/traffic-manager-profile-cleanup";
    /// On a TrafficManagerBackend: the provider's endpoints go first.
    pub const TRAFFIC_MANAGER_BACKEND: &str =
        "networking.fleet.azure.com/traffic-manager-backend-cleanup";
}

/// Annotations.
pub mod annotation {
    /// On a ServiceImport of the hub: the members that import the service, as JSON.
    pub const SERVICE_IN_USE_BY: &str = "networking.fleet.azure.com/service-in-use-by";
    /// On an exported EndpointSlice: name of its EndpointSliceExport.
    pub const FLEET_UNIQUE_NAME: &str = "networking.fleet.azure.com/fleet-unique-name";
    /// On a ServiceExport: share of the traffic that its cluster gets, 0 to 1000. On an EndpointSliceImport, where only
    /// we write it: the share of the cluster that the endpoints come from.
    pub const WEIGHT: &str = "networking.fleet.azure.com/weight";
    /// On a MultiClusterService: asks for an address inside the network.
    pub const INTERNAL_LOAD_BALANCER: &str =
        "networking.fleet.azure.com/azure-load-balancer-internal";
    /// On an exported EndpointSlice: generation that its exporter saw last.
    pub const LAST_SEEN_GENERATION: &str = "networking.fleet.azure.com/last-seen-generation";
    /// On a ServiceExport: resource version of the Service that its exporter saw last.
    pub const LAST_SEEN_RESOURCE_VERSION: &str =
        "networking.fleet.azure.com/last-seen-resource-version";
    /// On an exported EndpointSlice and on a ServiceExport: when its exporter saw that.
    pub const LAST_SEEN_TIMESTAMP: &str = "networking.fleet.azure.com/last-seen-timestamp";
    /// On an EndpointSliceImport: generation that has been measured.
    pub const LAST_OBSERVED_GENERATION: &str =
        "networking.fleet.azure.com/last-observed-generation";
    /// On an InternalServiceExport: resource version that has been measured.
    pub const LAST_OBSERVED_RESOURCE_VERSION: &str =
        "networking.fleet.azure.com/last-observed-resource-version";

    /// Annotations that Azure gives a meaning on Services of type LoadBalancer.
    pub mod azure {
        /// `true`: the load balancer has an address inside the network.
        pub const INTERNAL_LOAD_BALANCER: &str =
            "service.beta.kubernetes.io/azure-load-balancer-internal";
        /// Resource group of the public address.
        pub const RESOURCE_GROUP: &str =
            "service.beta.kubernetes.io/azure-load-balancer-resource-group";
        /// DNS label of the public address.
        pub const DNS_LABEL: &str = "service.beta.kubernetes.io/azure-dns-label-name";
    }
}

/// Annotations of our own, which other fleets ignore. On a MultiClusterService unless something else is said.
pub mod balancing {
    /// How connections get to endpoints: `service`, `kernel` or `proxy`.
    pub const MODE: &str = "network.fleet.stolos.dev/mode";
    /// Address that the service is to have, instead of one that the fleet chooses.
    pub const VIP: &str = "network.fleet.stolos.dev/vip";
    /// How the network is told where the address is: `none` or `l2`.
    pub const ANNOUNCE: &str = "network.fleet.stolos.dev/announce";
    /// Whether a client stays with its endpoint: `None` or `ClientIP`.
    pub const AFFINITY: &str = "network.fleet.stolos.dev/affinity";
    /// Seconds without a connection after which a client is free again, 1 to 86400.
    pub const AFFINITY_TIMEOUT_SECONDS: &str = "network.fleet.stolos.dev/affinity-timeout-seconds";
    /// `true`: a client stays with its endpoint although others come or go.
    pub const AFFINITY_STRICT: &str = "network.fleet.stolos.dev/affinity-strict";
    /// How endpoints are checked: `none`, `tcp` or `http`.
    pub const HEALTH_CHECK: &str = "network.fleet.stolos.dev/health-check";
    /// Port that is checked.
    pub const HEALTH_CHECK_PORT: &str = "network.fleet.stolos.dev/health-check-port";
    /// Path that is asked for.
    pub const HEALTH_CHECK_PATH: &str = "network.fleet.stolos.dev/health-check-path";
    /// Seconds between two checks, 1 to 300.
    pub const HEALTH_CHECK_INTERVAL_SECONDS: &str =
        "network.fleet.stolos.dev/health-check-interval-seconds";
    /// Seconds for which old connections to an endpoint that left may go on, 0 to 86400.
    pub const DRAIN_SECONDS: &str = "network.fleet.stolos.dev/drain-seconds";
    /// Seconds over which an endpoint that has recovered gets its share back, 0 to 3600.
    pub const SLOW_START_SECONDS: &str = "network.fleet.stolos.dev/slow-start-seconds";
    /// `false`: when all endpoints are down, none gets connections.
    pub const FAIL_OPEN: &str = "network.fleet.stolos.dev/fail-open";
    /// `v2`: endpoints are told the address of the client.
    pub const PROXY_PROTOCOL: &str = "network.fleet.stolos.dev/proxy-protocol";
    /// Networks that may connect, separated by commas.
    pub const SOURCE_RANGES: &str = "network.fleet.stolos.dev/source-ranges";
    /// Connections that a client may have at the same time, 1 to 1000000.
    pub const MAX_CONNECTIONS_PER_CLIENT: &str =
        "network.fleet.stolos.dev/max-connections-per-client";
    /// What becomes of endpoints of a cluster that is no longer heard of: `Keep`, `Check` or `Drop`.
    pub const LEASE_POLICY: &str = "network.fleet.stolos.dev/lease-policy";
    /// How many times its weight the own cluster gets, 1 to 1000.
    pub const OWN_CLUSTER_MULTIPLIER: &str = "network.fleet.stolos.dev/own-cluster-multiplier";
}

/// On an EndpointSlice that was imported: the cluster that the endpoints are of, so that a data plane knows it while the
/// hub is away.
pub const CLUSTER_ANNOTATION: &str = "network.fleet.stolos.dev/cluster";

/// On an EndpointSlice that was imported: `<uid>/<generation>` of what it was made of last, which is the EndpointSlice of the
/// exporting cluster, or by the standard the ImportedService.
pub const MADE_OF_ANNOTATION: &str = "network.fleet.stolos.dev/made-of";

/// On an EndpointSlice that was imported: the first thing that was left out of it, and why.
pub const REFUSED_ANNOTATION: &str = "network.fleet.stolos.dev/refused";

/// On an InternalServiceExport, an EndpointSliceExport and its copies: when this version was exported, to the millisecond.
/// `exportedSince` has whole seconds.
pub const EXPORTED_AT_ANNOTATION: &str = "network.fleet.stolos.dev/exported-at";

/// On an EndpointSliceImport, where only the hub writes it: since when it has not heard of the cluster that the endpoints
/// are of. It is absent as long as that is less than three times the period of heartbeats.
pub const SILENT_SINCE_ANNOTATION: &str = "network.fleet.stolos.dev/silent-since";

/// On a MemberCluster, where the hub writes it: `<namespace>/<name>` of a service that the member exports. Absent
/// where the deletion of the member is not to be checked.
pub const EXPORTS_ANNOTATION: &str = "network.fleet.stolos.dev/exports";

/// Members that are reached by a gateway.
pub mod gateway {
    /// On a ServiceExport: where other members connect to the Service, as JSON.
    pub const ENTRY: &str = "network.fleet.stolos.dev/gateway-entry";
    /// On an EndpointSliceExport and whatever is copied from it: its endpoints are gateways, which take connections by TLS
    /// with a certificate of the fleet (`require`) or without (`off`).
    pub const TLS: &str = "network.fleet.stolos.dev/gateway-tls";
    /// On an InternalMemberCluster: the request of the member for a certificate, as PEM. Its agent writes it.
    pub const REQUEST: &str = "network.fleet.stolos.dev/gateway-request";
    /// On an InternalMemberCluster: what the hub answers to the request, as JSON.
    pub const CERTIFICATE: &str = "network.fleet.stolos.dev/gateway-certificate";
    /// Secret of the hub's system namespace: the authority of the fleet, by which members know each other's gateways.
    pub const AUTHORITY_SECRET: &str = "stolos-gateway-ca";
    /// Secret of the member's system namespace: its certificate and key, and the authorities of the fleet.
    pub const MEMBER_SECRET: &str = "stolos-gateway-tls";
    /// Property of a member: how other members reach its pods, `flat` or `gateway`.
    pub const REACHABILITY: &str = "network.fleet.stolos.dev/reachability";
}

/// Classes of Services of type LoadBalancer.
pub mod class {
    /// Our proxy in user space serves them; other load balancers leave them alone.
    pub const PROXY: &str = "network.fleet.stolos.dev/proxy";
}

/// Labels.
pub mod label {
    /// On a MultiClusterService: name of its derived Service.
    pub const DERIVED_SERVICE: &str = "networking.fleet.azure.com/derived-service";
    /// On a MultiClusterService: name of the ServiceImport that it uses.
    pub const SERVICE_IMPORT: &str = "networking.fleet.azure.com/service-import";
    /// On a derived Service: name of its MultiClusterService.
    pub const MULTI_CLUSTER_SERVICE_NAME: &str =
        "networking.fleet.azure.com/multi-cluster-service-name";
    /// On a derived Service: namespace of its MultiClusterService.
    pub const MULTI_CLUSTER_SERVICE_NAMESPACE: &str =
        "networking.fleet.azure.com/multi-cluster-service-namespace";
    /// On an EndpointSlice: name of its Service.
    pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
    /// On a Service: who brings connections to its endpoints, instead of the cluster's own service proxy.
    pub const SERVICE_PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
    /// On an EndpointSlice: who keeps it.
    pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
}

/// Names of the Multi-Cluster Services API and of what we make for it.
pub mod clusterset {
    /// Annotation of a ServiceImport: name of the Service that has its address.
    pub const DERIVED_SERVICE: &str = "multicluster.kubernetes.io/derived-service";
    /// Label of a derived Service and its EndpointSlices: name of the ServiceImport.
    pub const SERVICE_NAME: &str = "multicluster.kubernetes.io/service-name";
    /// Label of an EndpointSlice: cluster that the endpoints are of.
    pub const SOURCE_CLUSTER: &str = "multicluster.kubernetes.io/source-cluster";
    /// Label of ServiceImports and derived Services that we keep, with the value [`MANAGER`].
    pub const MANAGED_BY: &str = "network.fleet.stolos.dev/managed-by";
    /// Annotation of a ServiceImport: the labels that exporters gave it, separated by commas. Others are somebody else's.
    pub const EXPORTED_LABELS: &str = "network.fleet.stolos.dev/exported-labels";
    /// Annotation of a ServiceImport: the annotations that exporters gave it, separated by commas.
    pub const EXPORTED_ANNOTATIONS: &str = "network.fleet.stolos.dev/exported-annotations";
    /// Who keeps ServiceImports, derived Services and their EndpointSlices.
    pub const MANAGER: &str = "clusterset.fleet.stolos.dev";
    /// Event on a ServiceImport or Service of somebody else whose name a service of the clusterset needs.
    pub const NAME_TAKEN: &str = "ClustersetNameTaken";
}

/// Value of [`label::MANAGED_BY`] on the EndpointSlices of other members.
pub const ENDPOINT_SLICE_MANAGER: &str =
    "endpointsliceimport-controller.networking.fleet.azure.com";

/// Value of [`label::SERVICE_PROXY_NAME`] on the Services that our data planes serve.
pub const SERVICE_PROXY: &str = "stolos";

/// Weight of a ServiceExport without the annotation.
pub const DEFAULT_WEIGHT: i64 = 1;

/// Largest weight of a ServiceExport.
pub const MAX_WEIGHT: i64 = 1000;

/// Condition types.
pub mod condition {
    /// On a ServiceExport: the Service can be exported. On a MultiClusterService: the service is imported.
    pub const VALID: &str = "Valid";
    /// On a ServiceExport and an InternalServiceExport: another cluster exports something else.
    pub const CONFLICT: &str = "Conflict";
    /// On a TrafficManagerProfile: its name is answered.
    pub const PROGRAMMED: &str = "Programmed";
    /// On a TrafficManagerBackend: its clusters are behind the profile.
    pub const ACCEPTED: &str = "Accepted";
    /// On a derived Service: a data plane takes connections at all of its ports. On a ServiceExport: at those of its entry.
    pub const SERVED: &str = "network.fleet.stolos.dev/Served";
    /// On a ServiceExport of a member with a gateway: every port of the Service has one at the gateway.
    pub const ENTERED: &str = "network.fleet.stolos.dev/Entered";
}

/// Reasons of conditions.
pub mod reason {
    /// `Valid` of a ServiceExport is True.
    pub const SERVICE_IS_VALID: &str = "ServiceIsValid";
    /// There is no Service.
    pub const SERVICE_NOT_FOUND: &str = "ServiceNotFound";
    /// The Service is of a type that cannot be exported.
    pub const SERVICE_INELIGIBLE: &str = "ServiceIneligible";
    /// The weight is not a number between 0 and 1000.
    pub const INVALID_WEIGHT_ANNOTATION: &str = "ServiceExportInvalidWeightAnnotation";

    /// `Conflict` is Unknown: the hub has not compared the exports yet.
    pub const PENDING_CONFLICT_RESOLUTION: &str = "ServicePendingConflictResolution";
    /// `Conflict` is Unknown: the hub has no such namespace, so it cannot bring the exports together.
    pub const NAMESPACE_NOT_FOUND: &str = "NamespaceNotFound";
    /// `Conflict` is False.
    pub const NO_CONFLICT_FOUND: &str = "NoConflictFound";
    /// `Conflict` is True.
    pub const CONFLICT_FOUND: &str = "ConflictFound";

    /// `Valid` of a MultiClusterService is True.
    pub const FOUND_SERVICE_IMPORT: &str = "FoundServiceImport";
    /// `Valid` of a MultiClusterService is Unknown.
    pub const UNKNOWN_SERVICE_IMPORT: &str = "UnknownServiceImport";

    /// `Programmed` is True.
    pub const PROGRAMMED: &str = "Programmed";
    /// `Programmed` is False: somebody else has the name.
    pub const DNS_NAME_NOT_AVAILABLE: &str = "DNSNameNotAvailable";
    /// `Accepted` is True.
    pub const ACCEPTED: &str = "Accepted";
    /// `Programmed` or `Accepted` is False.
    pub const INVALID: &str = "Invalid";
    /// `Programmed` or `Accepted` is Unknown.
    pub const PENDING: &str = "Pending";

    /// `Served` is True.
    pub const SERVED: &str = "Served";
    /// `Served` is False: annotations of the MultiClusterService cannot be read.
    pub const ANNOTATIONS_MALFORMED: &str = "AnnotationsMalformed";
    /// `Served` is False: annotations of the MultiClusterService ask for what the data plane cannot do.
    pub const NOT_SUPPORTED: &str = "NotSupported";
    /// `Served` is False: the MultiClusterService or its ServiceImport is not known yet.
    pub const ORIGIN_UNKNOWN: &str = "OriginUnknown";

    /// `Entered` is True.
    pub const ENTRY_ALLOCATED: &str = "EntryAllocated";
    /// `Entered` is False: no port of the gateway is free.
    pub const GATEWAY_PORTS_EXHAUSTED: &str = "GatewayPortsExhausted";
    /// `Entered` is False: a port is of a protocol that the gateway does not carry.
    pub const PROTOCOL_NOT_CARRIED: &str = "ProtocolNotCarried";

    /// `Joined` of a network agent is True.
    pub const AGENT_JOINED: &str = "AgentJoined";
    /// `Joined` of a network agent is False.
    pub const AGENT_LEFT: &str = "AgentLeft";
}

/// Events that are not reasons of a condition.
pub mod event {
    /// On a ServiceExport: the Service is of a type that cannot be exported.
    pub const SERVICE_NOT_ELIGIBLE: &str = "ServiceNotEligible";
    /// On a ServiceExport: it is valid.
    pub const VALID_SERVICE_EXPORT: &str = "ValidServiceExport";
    /// On a ServiceExport: the hub is to compare it with the others.
    pub const PENDING_EXPORT_CONFLICT_RESOLUTION: &str = "PendingExportConflictResolution";
    /// On a ServiceExport: it conflicts.
    pub const CONFLICT_FOUND: &str = "ServiceExportConflictFound";
    /// On a ServiceExport: it does not conflict.
    pub const NO_CONFLICT_FOUND: &str = "NoServiceExportConflictFound";
    /// On a ServiceImport: no cluster exports the service.
    pub const NO_EXPORTED_SERVICE: &str = "NoExportedService";
    /// On a ServiceImport and a MultiClusterService: the status changed.
    pub const SUCCESSFUL_UPDATE_STATUS: &str = "SuccessfulUpdateStatus";
    /// On a MultiClusterService: the service is exported by a cluster.
    pub const FOUND_VALID_SERVICE: &str = "FoundValidService";
    /// On a MultiClusterService: its derived Service and its ServiceImport are deleted.
    pub const UNIMPORTED_SERVICE: &str = "UnimportedService";
    /// On a MultiClusterService: endpoints of a cluster are left out.
    pub const ENDPOINTS_REFUSED: &str = "EndpointsRefused";
    /// On a TrafficManagerProfile or TrafficManagerBackend: the provider refused.
    pub const AZURE_API_ERROR: &str = "AzureAPIError";
    /// On a TrafficManagerProfile or TrafficManagerBackend: it is gone at the provider.
    pub const DELETED: &str = "Deleted";
}
