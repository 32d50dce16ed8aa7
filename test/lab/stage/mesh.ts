// How Istio is installed on a stage, and what its proxies write down.

/** Where every sidecar writes its access log, as its pod sees it; the node mounts `<dir>/access/<namespace>/<pod>` there. */
const ACCESS_LOG_FILE = '/var/log/istio/access.jsonl';

/** Istio's default JSON names, and those that tell whose line it is, mTLS from plaintext, and what a dry run said. */
export const accessLogFormat = {
  start_time: '%START_TIME%',
  route_name: '%ROUTE_NAME%',
  method: '%REQ(:METHOD)%',
  path: '%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%',
  protocol: '%PROTOCOL%',
  response_code: '%RESPONSE_CODE%',
  response_flags: '%RESPONSE_FLAGS%',
  response_code_details: '%RESPONSE_CODE_DETAILS%',
  connection_termination_details: '%CONNECTION_TERMINATION_DETAILS%',
  bytes_received: '%BYTES_RECEIVED%',
  bytes_sent: '%BYTES_SENT%',
  duration: '%DURATION%',
  upstream_service_time: '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%',
  x_forwarded_for: '%REQ(X-FORWARDED-FOR)%',
  user_agent: '%REQ(USER-AGENT)%',
  request_id: '%REQ(X-REQUEST-ID)%',
  authority: '%REQ(:AUTHORITY)%',
  upstream_host: '%UPSTREAM_HOST%',
  upstream_cluster: '%UPSTREAM_CLUSTER_RAW%',
  upstream_local_address: '%UPSTREAM_LOCAL_ADDRESS%',
  downstream_local_address: '%DOWNSTREAM_LOCAL_ADDRESS%',
  downstream_remote_address: '%DOWNSTREAM_REMOTE_ADDRESS%',
  requested_server_name: '%REQUESTED_SERVER_NAME%',
  upstream_transport_failure_reason: '%UPSTREAM_TRANSPORT_FAILURE_REASON%',
  pod_name: '%ENVIRONMENT(POD_NAME)%',
  pod_namespace: '%ENVIRONMENT(POD_NAMESPACE)%',
  downstream_direct_remote_address: '%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%',
  downstream_peer_uri_san: '%DOWNSTREAM_PEER_URI_SAN%',
  downstream_local_uri_san: '%DOWNSTREAM_LOCAL_URI_SAN%',
  downstream_tls_version: '%DOWNSTREAM_TLS_VERSION%',
  upstream_peer_uri_san: '%UPSTREAM_PEER_URI_SAN%',
  upstream_tls_version: '%UPSTREAM_TLS_VERSION%',
  filter_chain_name: '%FILTER_CHAIN_NAME%',
  rbac: '%DYNAMIC_METADATA(envoy.filters.http.rbac)%',
  rbac_tcp: '%DYNAMIC_METADATA(envoy.filters.network.rbac)%',
} as const;

/** The version that the images' tags name; the module's date and commit, for it is not a release. */
export const istioVersion = '1.31.0-alpha.20260827';

/** Input of Istio's own charts. */
export const istioOperator = {
  apiVersion: 'install.istio.io/v1alpha1',
  kind: 'IstioOperator',
  spec: {
    profile: 'minimal',
    hub: 'lab/istio',
    tag: istioVersion,
    meshConfig: {
      accessLogFile: ACCESS_LOG_FILE,
      accessLogEncoding: 'JSON',
      accessLogFormat: JSON.stringify(accessLogFormat),
      defaultConfig: { drainDuration: '5s', terminationDrainDuration: '1s' },
    },
    values: {
      // As after `istioctl install`: every Istio object is validated, whatever its labels.
      defaultRevision: 'default',
      pilot: {
        autoscaleEnabled: false,
        resources: { requests: { cpu: '10m', memory: '64Mi' } },
        env: {
          // Envoy comes without Istio's own filters: a configuration that names one would be rejected as a whole.
          PILOT_ENABLE_METADATA_EXCHANGE: 'false',
          PILOT_ENABLE_ALPN_FILTER: 'false',
          PILOT_DISABLE_MX_ALPN: 'true',
          CLOUD_PLATFORM: 'none',
          PILOT_DEBOUNCE_AFTER: '20ms',
        },
      },
      telemetry: { enabled: false, v2: { enabled: false, prometheus: { enabled: false } } },
      global: { proxy: { resources: { requests: { cpu: '10m', memory: '64Mi' } } } },
    },
  },
} as const;
