"""Every code: severity, title, why it matters, the fix. `docs/mesh-check.md` is made of this table."""

from __future__ import annotations

CATALOGUE: dict[str, tuple[str, str, str, str]] = {
    # Files and schemas
    "SL-M001": (
        "error",
        "a file can't be read",
        "Nothing in it reaches the cluster, or only a part of it does.",
        "Make it UTF-8 YAML of Kubernetes objects, below 5 MB, each key once.",
    ),
    "SL-M002": (
        "error",
        "an unknown field",
        "Kubernetes drops fields that the schema does not know, so the setting is silently not there.",
        "Correct the name, or move the field to where it belongs.",
    ),
    "SL-M003": (
        "error",
        "a value that the schema refuses",
        "Kubernetes refuses the object as a whole.",
        "Give a value of the type and range that the schema asks for.",
    ),
    "SL-M004": (
        "error",
        "an unknown kind or version",
        "No resource definition fits, so the object can't be applied.",
        "Take a version and kind that Istio has.",
    ),
    "SL-M005": (
        "note",
        "an old apiVersion",
        "It works as long as Istio converts it; new fields are documented for v1 only.",
        "Write v1.",
    ),
    "SL-M006": (
        "error",
        "a kustomization that can't be built",
        "`kubectl apply -k` fails in the same way.",
        "Correct the entry that the message names.",
    ),
    "SL-M007": (
        "warning",
        "the same object twice",
        "Applied together, the last one read wins and the other is lost.",
        "Keep one, or keep variants in folders of their own.",
    ),
    # References
    "SL-M101": (
        "error",
        "a host that is no Service",
        "Envoy has no cluster for it: callers get UNAVAILABLE (503), or the rule applies to nothing.",
        "Write the Service's name, best in full: NAME.NAMESPACE.svc.cluster.local.",
    ),
    "SL-M102": (
        "error",
        "a subset that no DestinationRule has",
        "The route leads to a cluster that does not exist: UNAVAILABLE (503) for its share of the calls.",
        "Define the subset in the host's DestinationRule.",
    ),
    "SL-M103": (
        "error",
        "a port that the Service does not have, or none named where it has several",
        "Envoy has no cluster for that port; Istio refuses to guess among several.",
        "Name one of the Service's ports in destination.port.number.",
    ),
    "SL-M104": (
        "warning",
        "a gateway that is not among the files",
        "A route bound to a gateway that does not exist is never used.",
        "Check the name (NAMESPACE/NAME where it lives elsewhere), or give the file that defines it too.",
    ),
    "SL-M105": (
        "error",
        "a host that the gateway does not serve",
        "The gateway drops the route: callers get 404 (UNIMPLEMENTED for gRPC).",
        "Add the host to the Gateway's servers, or take one of theirs.",
    ),
    "SL-M106": (
        "warning",
        "a selector that fits no pods",
        "The rule applies to nothing; a subset without pods answers UNAVAILABLE (503).",
        "Use labels that the workload's pod template carries.",
    ),
    "SL-M107": (
        "warning",
        "a subset without labels",
        "It holds every pod of the host, so a split between subsets splits nothing.",
        "Give it the labels that tell its pods from the others.",
    ),
    "SL-M108": (
        "warning",
        "a port whose protocol Istio has to guess",
        "Without grpc in its name or appProtocol, HTTP/2 and gRPC routing depend on sniffing.",
        "Name the port grpc or grpc-SOMETHING, or set appProtocol: grpc.",
    ),
    # Routing
    "SL-M201": (
        "error",
        "a weight on a single destination",
        "Istio ignores the weight where a route has one destination: it gets 100 %.",
        "Put all destinations of the split into one route, or remove the weight.",
    ),
    "SL-M202": (
        "error",
        "a split spread over several rules",
        "Rules are tried in order and the first that matches takes 100 %; weights work within one route only.",
        "Make it one rule whose route lists every destination with its weight.",
    ),
    "SL-M203": (
        "error",
        "`gateways` without `mesh` for a Service inside the mesh",
        "Callers in the mesh don't see the rules: they go to all pods of the Service, whatever the version.",
        "Add `mesh` to gateways.",
    ),
    "SL-M204": (
        "error",
        "a rule that is never reached",
        "An earlier rule already takes everything that it matches.",
        "Move the narrower rule up, or remove it.",
    ),
    "SL-M205": (
        "warning",
        "weights that don't add up to 100",
        "Envoy takes them relative to their sum, which is rarely what was meant; a sum of 0 is refused.",
        "Make the weights of the route add up to 100.",
    ),
    "SL-M206": (
        "warning",
        "a rule that sends every port of a Service to one port",
        "Without match.port the rule also takes calls to the Service's other ports, such as REST to a gRPC port.",
        "Add `port` to the rule's match.",
    ),
    "SL-M207": (
        "error",
        "two VirtualServices for one host",
        "In the mesh only one of them is used, the older one; at a gateway their order is not defined.",
        "Merge them into one VirtualService.",
    ),
    "SL-M208": (
        "warning",
        "a header match that Istio ignores",
        "uri, scheme, method and authority have matches of their own; as headers they are skipped.",
        "Use the field of the same name in the match.",
    ),
    "SL-M209": (
        "error",
        "a rule that leads nowhere",
        "Istio refuses a rule without route, redirect, directResponse or delegate.",
        "Give it a route.",
    ),
    # Timeouts, retries, faults
    "SL-M301": (
        "error",
        "a retryOn that Istio does not understand",
        "The list is cut at commas and not trimmed: a condition with a space or a typo is refused.",
        "Separate known conditions by commas without spaces.",
    ),
    "SL-M302": (
        "error",
        "retries switched off and configured",
        "Istio refuses attempts: 0 together with retryOn or perTryTimeout.",
        "Remove the other fields, or set attempts to 1 or more.",
    ),
    "SL-M303": (
        "error",
        "a fault without percentage",
        "Unset is 0 %: the fault never happens, and an experiment with it shows nothing.",
        "Set percentage.value.",
    ),
    "SL-M304": (
        "error",
        "a timeout on a stream",
        "A bidi stream lives as long as its client; a route timeout ends it with UNAVAILABLE.",
        "Remove the timeout; bound a stream's age with max_stream_duration in an EnvoyFilter.",
    ),
    "SL-M305": (
        "warning",
        "a delay that the timeout does not cut",
        "The fault comes before the router, which is what times out: the call still succeeds, late.",
        "Inject the delay on another hop to see the timeout work.",
    ),
    "SL-M306": (
        "warning",
        "retries that have no time left",
        "The route's timeout covers all tries: with perTryTimeout as long, the second try never starts.",
        "Make the timeout at least perTryTimeout x (attempts + 1).",
    ),
    "SL-M307": (
        "warning",
        "retry conditions that gRPC errors never meet",
        "A gRPC error is HTTP 200 with grpc-status: 5xx and gateway-error don't see it.",
        "Add gRPC's own: unavailable (and cancelled, internal, resource-exhausted, deadline-exceeded where right).",
    ),
    "SL-M308": (
        "error",
        "an abort status that does not exist",
        "Istio refuses the fault.",
        "Write a gRPC code in upper case such as UNAVAILABLE, or an HTTP status from 200 to 599.",
    ),
    "SL-M309": (
        "error",
        "a duration that can't be read",
        "Istio refuses the object: durations have a unit and are at least 1 ms.",
        "Write a duration such as 500ms, 10s or 1h30m.",
    ),
    # Circuit breaking
    "SL-M401": (
        "error",
        "an ejection limit that ejects nothing",
        "Envoy ejects at most floor(hosts x maxEjectionPercent / 100) hosts; the default of 10 % is none below 10.",
        "Set maxEjectionPercent to at least 100 / hosts, rounded up: 100 for one host, 50 for two.",
    ),
    "SL-M402": (
        "warning",
        "outlier detection that detects nothing",
        "consecutive5xxErrors: 0 switches it off, and no other detector is set.",
        "Set consecutive5xxErrors or consecutiveGatewayErrors to 1 or more.",
    ),
    "SL-M403": (
        "warning",
        "a pending limit that refuses bursts",
        "While a connection opens every call waits: all beyond http1MaxPendingRequests fail, for HTTP/2 too.",
        "Allow as many pending as may be in flight (http2MaxRequests).",
    ),
    "SL-M404": (
        "warning",
        "a limit of 0",
        "Istio reads 0 as unset, which means no limit (4294967295).",
        "Set the limit you want, at least 1.",
    ),
    "SL-M405": (
        "error",
        "plaintext to pods that demand mTLS",
        "tls.mode of a DestinationRule overrides automatic mTLS, and a STRICT server refuses the connection.",
        "Remove trafficPolicy.tls, or write ISTIO_MUTUAL.",
    ),
    "SL-M406": (
        "warning",
        "two DestinationRules for one host",
        "Istio merges subsets, but takes the traffic policy of one of them only.",
        "Merge them into one DestinationRule.",
    ),
    "SL-M407": (
        "warning",
        "a block that replaces the host's",
        "A subset's or port's block replaces the one above as a whole: fields not repeated are unset.",
        "Repeat the fields in the inner block.",
    ),
    # Security
    "SL-M501": (
        "error",
        "a token that is checked but not required",
        "RequestAuthentication refuses bad tokens only: a call without one passes.",
        'Add an AuthorizationPolicy for the same pods that allows only requestPrincipals: ["*"] or narrower.',
    ),
    "SL-M502": (
        "warning",
        "a policy that allows everything",
        "An empty rule matches every call, so other ALLOW policies on these pods mean nothing.",
        "Say who may call what; an empty spec ({}) is what denies everything.",
    ),
    "SL-M503": (
        "error",
        "a principal that no certificate has",
        "Istio compares TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT, without spiffe://: the rule never matches.",
        "Write cluster.local/ns/NAMESPACE/sa/ACCOUNT.",
    ),
    "SL-M504": (
        "error",
        "an operation that no gRPC call is",
        "Every gRPC call is a POST of /package.Service/Method: the rule never matches.",
        'Write methods: ["POST"] and the full path with its leading slash.',
    ),
    "SL-M505": (
        "warning",
        "a policy that does nothing",
        "DENY, AUDIT or CUSTOM without rules never matches.",
        "Add rules, or write an ALLOW policy with an empty spec to deny everything.",
    ),
    "SL-M506": (
        "warning",
        "plaintext is accepted",
        "Without mTLS a caller has no identity, and policies on principals see nobody.",
        "Set mtls.mode: STRICT; PERMISSIVE is for a migration.",
    ),
    "SL-M507": (
        "error",
        "a route by token claims that no token reaches",
        "@request.auth.claims works at gateways only, on pods with a RequestAuthentication.",
        "Bind the VirtualService to a gateway, and add a RequestAuthentication for the gateway's pods.",
    ),
    "SL-M508": (
        "error",
        "mTLS per port without a selector",
        "portLevelMtls only works with a selector; Istio refuses it for a namespace.",
        "Add selector.matchLabels.",
    ),
    "SL-M509": (
        "error",
        "a TLS server without its certificate",
        "The gateway can't open the port.",
        "Set tls.mode and credentialName (the secret is looked up beside the gateway's pods).",
    ),
    "SL-M510": (
        "warning",
        "two Gateways that claim the same host on one port",
        "They meet on the same pods: which certificate and which routes win is not defined.",
        "Keep one, or give them different hosts.",
    ),
    "SL-M511": (
        "warning",
        "plaintext at the gateway",
        "What callers send, tokens too, crosses the network readable.",
        "Serve HTTPS, or set tls.httpsRedirect: true on the HTTP server.",
    ),
    # EnvoyFilter
    "SL-M601": (
        "warning",
        "a relative patch without priority",
        "INSERT_BEFORE, INSERT_AFTER and the like depend on what other filters did before; without priority the order "
        "is creation time.",
        "Set spec.priority.",
    ),
    "SL-M602": (
        "error",
        "a patch operation that its target ignores",
        "Istio skips ADD and REMOVE on route configurations and routes, and REPLACE on anything but filters.",
        "Use MERGE, or another applyTo.",
    ),
    "SL-M603": (
        "error",
        "a rate limit that limits nothing",
        "filter_enabled and filter_enforced default to 0 %.",
        "Set both to 100 HUNDRED.",
    ),
    "SL-M604": (
        "note",
        "a rate limit that tells gRPC clients to retry",
        "gRPC callers see UNAVAILABLE, which they retry at once; HTTP callers see 429 all the same.",
        "Set rate_limited_as_resource_exhausted: true.",
    ),
    "SL-M605": (
        "error",
        "a typed_config without @type",
        "Envoy can't tell which message it is and refuses the listener.",
        "Add the type's URL as @type.",
    ),
    # Egress and telemetry
    "SL-M701": (
        "error",
        "an egress host without a namespace",
        "Sidecar hosts are NAMESPACE/HOST; others are refused.",
        "Write ./HOST, NAMESPACE/HOST or */HOST.",
    ),
    "SL-M702": (
        "error",
        "a wildcard that DNS can't resolve",
        "resolution: DNS looks the host up, and *.example.com has no address.",
        "List the hosts, give endpoints, or use resolution: NONE or DYNAMIC_DNS.",
    ),
    "SL-M703": (
        "error",
        "a destination that the caller's Sidecar hides",
        "A host that egress does not list has no cluster in that namespace's proxies: UNAVAILABLE or blocked.",
        "Add it to the Sidecar's egress hosts.",
    ),
    "SL-M801": (
        "warning",
        "a metric tag from a request's own data",
        "Each value is a new time series: a tag per camera, user or path fills Prometheus, and callers choose it.",
        "Log it, or trace it; tag metrics with what has few values.",
    ),
}
