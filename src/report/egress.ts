import { isPrivateAddress } from '../model/address.ts';
import type { Config, VpcFact } from '../model/config.ts';
import { formatPort } from '../model/edge.ts';
import { matchText } from '../model/glob.ts';
import type { Workload } from '../model/inventory.ts';
import { metadataServerAt } from '../inventory/system-traffic.ts';
import { compareText, uniqueSorted } from '../shared/pure/order.ts';
import { findVpc } from './boundaries.ts';
import type { Placed } from './map.ts';
import type { EgressDestination, EgressGroupName, EgressSection, FlowMap } from './model.ts';
import { EGRESS_GROUPS } from './model.ts';

const TITLES: Readonly<Record<EgressGroupName, string>> = {
  packages: 'Packages',
  'container-images': 'Container images',
  'model-hubs': 'Model hubs',
  datasets: 'Datasets',
  'cloud-apis': 'Cloud APIs',
  'metadata-server': 'Metadata servers of the cloud',
  code: 'Source code',
  saas: 'Services of others',
  internal: 'Internal ranges outside the cluster',
  unknown: 'Unknown',
};

/** Names by what is fetched there; a name matches itself and everything under it. Public knowledge of the operators' own documents. */
const NAMES: readonly (readonly [EgressGroupName, readonly string[]])[] = [
  [
    'packages',
    [
      'pypi.org',
      'pypi.python.org',
      'pythonhosted.org',
      'anaconda.com',
      'anaconda.org',
      'conda.io',
      'npmjs.org',
      'npmjs.com',
      'yarnpkg.com',
      'maven.org',
      'maven.apache.org',
      'rubygems.org',
      'crates.io',
      'proxy.golang.org',
      'sum.golang.org',
      'deb.debian.org',
      'security.debian.org',
      'archive.ubuntu.com',
      'security.ubuntu.com',
      'dl-cdn.alpinelinux.org',
      'r-project.org',
      'bioconductor.org',
      'nuget.org',
      'packagist.org',
      'static.rust-lang.org',
      'nodejs.org',
      'go.dev',
      'pkgs.k8s.io',
      'dl.fedoraproject.org',
      'mirror.centos.org',
      'download.pytorch.org',
      'developer.download.nvidia.com',
    ],
  ],
  [
    'container-images',
    [
      'docker.io',
      'docker.com',
      'quay.io',
      'ghcr.io',
      'gcr.io',
      'registry.k8s.io',
      'pkg.dev',
      'nvcr.io',
      'mcr.microsoft.com',
      'azurecr.io',
      'icr.io',
      'public.ecr.aws',
    ],
  ],
  [
    'model-hubs',
    [
      'huggingface.co',
      'hf.co',
      'ngc.nvidia.com',
      'tfhub.dev',
      'modelscope.cn',
      'ollama.ai',
      'ollama.com',
      'replicate.com',
      'civitai.com',
    ],
  ],
  [
    'datasets',
    [
      'kaggle.com',
      'kaggleusercontent.com',
      'openml.org',
      'zenodo.org',
      'image-net.org',
      'cocodataset.org',
      'commoncrawl.org',
      'data.gov',
      'opendata.aws',
      'archive.ics.uci.edu',
      'files.fast.ai',
    ],
  ],
  ['code', ['github.com', 'githubusercontent.com', 'gitlab.com', 'bitbucket.org', 'dev.azure.com', 'codeberg.org']],
  [
    'cloud-apis',
    [
      'amazonaws.com',
      'amazonaws.com.cn',
      'api.aws',
      'googleapis.com',
      'google.internal',
      'azure.com',
      'azure.net',
      'windows.net',
      'azureml.ms',
      'microsoftonline.com',
      'oraclecloud.com',
      'cloud.ibm.com',
      'appdomain.cloud',
      'aliyuncs.com',
      'digitaloceanspaces.com',
      'cloudflarestorage.com',
      'backblazeb2.com',
      'wasabisys.com',
    ],
  ],
  [
    'saas',
    [
      'slack.com',
      'pagerduty.com',
      'datadoghq.com',
      'wandb.ai',
      'neptune.ai',
      'comet.com',
      'openai.com',
      'anthropic.com',
      'cohere.ai',
      'snowflakecomputing.com',
      'databricks.com',
      'azuredatabricks.net',
      'pinecone.io',
      'confluent.cloud',
      'mongodb.net',
      'sentry.io',
      'grafana.net',
      'honeycomb.io',
      'splunkcloud.com',
      'twilio.com',
      'sendgrid.net',
      'newrelic.com',
    ],
  ],
];

/** Hosts that are cloud names of storage and registries: told from the APIs around them. */
const WITHIN_CLOUD: readonly (readonly [RegExp, EgressGroupName, string])[] = [
  [/\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com$/, 'container-images', 'a registry of container images (ECR)'],
  [/(?:^|\.)s3[.-].{0,200}amazonaws\.com$/, 'cloud-apis', 'object storage (S3)'],
  [/^(?:[^/]+\.)?storage\.googleapis\.com$/, 'cloud-apis', 'object storage (GCS)'],
  [/\.(?:blob|dfs)\.core\.windows\.net$/, 'cloud-apis', 'object storage (Azure)'],
];

interface Grouped {
  readonly group: EgressGroupName;
  readonly because: string;
}

/** Which group a destination belongs to, and by what. */
export function groupOf(name: string | undefined, ip: string | undefined, config: Config): Grouped {
  const text = (name ?? ip ?? '').toLowerCase().replace(/\.$/, '');
  const own = config.assess?.egress?.find(({ match }) => matchText(match.toLowerCase(), text));
  if (own !== undefined)
    return { group: own.group as EgressGroupName, because: `declared in the configuration (${own.match})` };
  if (name === 'metadata-server' || (ip !== undefined && metadataServerAt(ip) !== undefined))
    return {
      group: 'metadata-server',
      because: metadataServerAt(ip ?? '')?.name ?? 'the address of a metadata server',
    };
  if (name !== undefined) {
    for (const [pattern, group, because] of WITHIN_CLOUD) if (pattern.test(text)) return { group, because };
    for (const [group, domains] of NAMES) {
      const domain = domains.find((one) => text === one || text.endsWith(`.${one}`));
      if (domain !== undefined) return { group, because: `its name is under ${domain}` };
    }
  }
  const vpc = findVpc(config, name, ip);
  if (vpc !== undefined) return { group: 'internal', because: `inside VPC ${vpc.name}, as declared` };
  if (ip !== undefined && isPrivateAddress(ip)) return { group: 'internal', because: 'a private address' };
  if (/\.(?:internal|local|lan|corp|intra|intranet|svc)$/.test(text) || (name !== undefined && !text.includes('.')))
    return { group: 'internal', because: 'a name that is valid inside a company alone' };
  return {
    group: 'unknown',
    because: name === undefined ? 'an address whose name no source saw' : 'a name that is in no list',
  };
}

/** Where workloads go outside the cluster. */
export function buildEgress(placed: Placed, map: FlowMap, config: Config, unrestricted: number | null): EgressSection {
  const byNode = new Map<number, { edges: number[]; name: string | undefined; ip: string | undefined }>();
  placed.rows.forEach(({ edge, dst }, index) => {
    if (edge.dst.kind !== 'external') return;
    const known = byNode.get(dst);
    if (known !== undefined) {
      known.edges.push(index);
      return;
    }
    byNode.set(dst, { edges: [index], name: edge.dst.name, ip: edge.dst.ip });
  });
  const groups = new Map<EgressGroupName, EgressDestination[]>(EGRESS_GROUPS.map((group) => [group, []]));
  for (const [node, { edges, name, ip }] of byNode) {
    const { group, because } = groupOf(name, ip, config);
    const rows = edges.flatMap((edge) => placed.rows[edge] ?? []);
    groups.get(group)?.push({
      node,
      name: name ?? ip ?? 'not known',
      because,
      boundary: vpcName(findVpc(config, name, ip)),
      workloads: uniqueSorted(rows.flatMap((row) => (row.edge.src.kind === 'workload' ? [row.edge.src.id] : []))),
      ports: uniqueSorted(rows.map((row) => formatPort(row.edge))),
      edges,
      connections: rows.reduce((sum, row) => sum + row.edge.count, 0),
    });
  }
  return {
    groups: EGRESS_GROUPS.map((group) => {
      const destinations = (groups.get(group) ?? []).sort(
        (a, b) => b.connections - a.connections || compareText(a.name, b.name),
      );
      return {
        group,
        title: TITLES[group],
        destinations,
        connections: destinations.reduce((sum, one) => sum + one.connections, 0),
      };
    }),
    destinations: byNode.size,
    unrestricted,
    registries: buildRegistries(placed.workloads, config),
  };
}

function vpcName(fact: VpcFact | undefined): string | null {
  return fact === undefined ? null : `VPC ${fact.name}`;
}

/** Where an image without the name of a registry comes from: the default of every container runtime. */
const DEFAULT_REGISTRY = 'docker.io';

/** The registry in the name of an image: what stands before the first slash, where it can be a host. */
export function registryOf(image: string): string | undefined {
  const [head = '', ...rest] = image.split('/');
  if (image === '') return undefined;
  return rest.length > 0 && (/[.:]/.test(head) || head === 'localhost') ? head.toLowerCase() : DEFAULT_REGISTRY;
}

/** Registries that pod specs name. Nodes pull from there: no policy on pods sees it. */
function buildRegistries(workloads: readonly Workload[], config: Config): EgressSection['registries'] {
  const found = new Map<string, { workloads: Set<string>; images: Set<string> }>();
  for (const workload of workloads)
    for (const { image } of workload.podSets.flatMap((set) => set.containers)) {
      const name = registryOf(image);
      if (name === undefined) continue;
      const entry = found.get(name) ?? { workloads: new Set(), images: new Set() };
      entry.workloads.add(workload.id);
      entry.images.add(image);
      found.set(name, entry);
    }
  return [...found]
    .map(([name, one]) => ({
      name,
      boundary: vpcName(findVpc(config, name, undefined)),
      images: one.images.size,
      workloads: [...one.workloads].sort(compareText),
    }))
    .sort((a, b) => b.images - a.images || compareText(a.name, b.name));
}
