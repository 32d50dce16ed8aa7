import type { AccountTable } from './account-table.ts';
import { azureCredential, gkeMember, googleBinding, irsaTrust, roleOfArn } from './cloud-trust.ts';
import type { Cloud, CloudBinding, CloudFacts, CloudKey, MetadataPath } from '../model/cloud-identity.ts';
import {
  AZURE_ANNOTATION,
  AZURE_LABEL,
  GKE_ANNOTATION,
  IRSA_ANNOTATION,
  isWide,
  metadataPaths,
} from '../model/cloud-identity.ts';
import { shellWord } from '../shared/pure/shell.ts';
import { sortBy, uniqueSorted } from '../shared/pure/order.ts';

/** One workload and one cloud: what it holds now, and what takes the place of a key. */
export interface CloudMove {
  readonly workload: string;
  readonly namespace: string;
  readonly cloud: Cloud;
  /** The account that it would have: its own after the phase identity. */
  readonly account: string;
  /** Others run as this account too, or will as soon as they name none: the cloud would trust them all. */
  readonly shared: boolean;
  readonly keys: readonly CloudKey[];
  readonly bindings: readonly CloudBinding[];
  /** `federated`: it has an identity and no key. `both`: the key can go. `key`: it has nothing else. */
  readonly state: 'federated' | 'both' | 'key';
  /** In order. */
  readonly kubernetes: readonly string[];
  readonly commands: readonly string[];
  /** HCL. */
  readonly terraform: string;
  readonly metadata: readonly MetadataPath[];
}

export interface CloudPlan {
  readonly cloud: CloudFacts;
  readonly moves: readonly CloudMove[];
  /** Keys of stores that are no cloud's: workload identity does not replace them. */
  readonly otherKeys: readonly { readonly workload: string; readonly key: CloudKey }[];
  /** Secrets of which every key becomes a variable: whether a key of a cloud is among them is not known. */
  readonly unknownKeys: readonly { readonly workload: string; readonly key: CloudKey }[];
  /** What stands in capitals in the commands, and where it is found. */
  readonly fill: readonly string[];
}

/** From keys to identities, for every workload that holds either. The cluster is not asked for anything that only the cloud knows. */
export function planCloud(table: AccountTable, cloud: CloudFacts, cni: string): CloudPlan {
  const moves: CloudMove[] = [];
  const otherKeys: { readonly workload: string; readonly key: CloudKey }[] = [];
  const unknownKeys: { readonly workload: string; readonly key: CloudKey }[] = [];
  for (const account of table.accounts) {
    for (const workload of account.workloads) {
      const keys = account.keys.filter((key) => key.workload === workload);
      for (const key of keys) {
        if (key.cloud === 's3-compatible') otherKeys.push({ workload, key: plain(key) });
        if (key.cloud === 'unknown') unknownKeys.push({ workload, key: plain(key) });
      }
      const bindings = account.cloud.filter((binding) => !isWide(binding));
      const clouds = uniqueSorted([...keys.map((key) => key.cloud), ...bindings.map((binding) => binding.cloud)]);
      for (const one of clouds) {
        if (one === 's3-compatible' || one === 'unknown') continue;
        const move = table.moves.find((item) => item.workload === workload && item.from === account.name);
        const name = move?.to ?? account.name;
        const mine = bindings.filter((binding) => binding.cloud === one);
        const held = keys.filter((key) => key.cloud === one).map(plain);
        const subject = { namespace: account.namespace, name };
        moves.push({
          workload,
          namespace: account.namespace,
          cloud: one as Cloud,
          account: name,
          shared: (account.shared || account.isDefault) && name === account.name,
          keys: held,
          bindings: mine,
          state: held.length === 0 ? 'federated' : mine.length === 0 ? 'key' : 'both',
          kubernetes: kubernetesSide(one as Cloud, subject, workload, mine, held, cloud),
          commands: mine.length > 0 && held.length > 0 ? [] : cloudSide(one as Cloud, subject, mine, cloud),
          terraform: terraformOf(one as Cloud, subject, mine, cloud),
          metadata: pathsOf(one as Cloud, mine, cni, cloud),
        });
      }
    }
  }
  const sorted = sortBy(moves, (move) => `${move.workload} ${move.cloud}`);
  return { cloud, moves: sorted, otherKeys, unknownKeys, fill: placesToFill(sorted, cloud) };
}

function plain({ cloud, place, reference }: CloudKey): CloudKey {
  return { cloud, place, ...(reference === undefined ? {} : { reference }) };
}

interface Subject {
  readonly namespace: string;
  readonly name: string;
}

function pathsOf(
  cloud: Cloud,
  bindings: readonly CloudBinding[],
  cni: string,
  facts: CloudFacts,
): readonly MetadataPath[] {
  const ways =
    bindings.length > 0 ? bindings.map(({ way }) => way) : cloud === 'gcp' ? (['gke-annotation'] as const) : [];
  const all = ways.flatMap((way) => metadataPaths(way, cni, facts.cloud === 'gcp'));
  return [...new Map(all.map((path) => [`${path.ip ?? 'node'}:${path.port}`, path])).values()];
}

/** What is done in the cluster; the account itself is made by the phase identity where it is not there. */
function kubernetesSide(
  cloud: Cloud,
  { namespace, name }: Subject,
  workload: string,
  bindings: readonly CloudBinding[],
  keys: readonly CloudKey[],
  facts: CloudFacts,
): readonly string[] {
  const annotate = (key: string, value: string): string =>
    `kubectl annotate serviceaccount ${shellWord(name)} --namespace ${shellWord(namespace)} ${shellWord(`${key}=${value}`)}`;
  const steps: string[] = [];
  if (bindings.length === 0) {
    if (cloud === 'gcp')
      steps.push(annotate(GKE_ANNOTATION, `NAME@${facts.project ?? 'PROJECT_ID'}.iam.gserviceaccount.com`));
    if (cloud === 'aws') steps.push(annotate(IRSA_ANNOTATION, 'arn:aws:iam::ACCOUNT_ID:role/ROLE'));
    if (cloud === 'azure') steps.push(annotate(AZURE_ANNOTATION, 'CLIENT_ID'));
  }
  if (cloud === 'azure' && (bindings.length === 0 || keys.length > 0))
    steps.push(`label the pod template of ${workload}: ${AZURE_LABEL}: "true"`);
  if (cloud === 'gcp' && facts.gkeMetadata === false)
    steps.push(
      'the nodes run no GKE metadata server: gcloud container node-pools update POOL --cluster CLUSTER --workload-metadata GKE_METADATA',
    );
  for (const key of keys)
    steps.push(
      `when it works, take ${key.place} out of ${workload}${key.reference === undefined ? '' : `, then delete the key behind ${key.reference} in the cloud, and the Secret`}`,
    );
  return steps;
}

function cloudSide(
  cloud: Cloud,
  subject: Subject,
  bindings: readonly CloudBinding[],
  facts: CloudFacts,
): readonly string[] {
  const identity = bindings.find((binding) => binding.identity !== undefined)?.identity;
  const project = facts.project ?? 'PROJECT_ID';
  switch (cloud) {
    case 'gcp':
      return [
        ...(identity === undefined ? [`gcloud iam service-accounts create NAME --project ${shellWord(project)}`] : []),
        googleBinding(identity ?? `NAME@${project}.iam.gserviceaccount.com`, subject, { project }),
      ];
    case 'aws':
      return [
        `cat > trust.json <<'EOF'\n${irsaTrust([subject])}\nEOF`,
        identity === undefined
          ? 'aws iam create-role --role-name ROLE --assume-role-policy-document file://trust.json'
          : `aws iam update-assume-role-policy --role-name ${shellWord(roleOfArn(identity))} --policy-document file://trust.json`,
        `# or, with the EKS Pod Identity agent, in place of the annotation: aws eks create-pod-identity-association --cluster-name CLUSTER --namespace ${shellWord(subject.namespace)} --service-account ${shellWord(subject.name)} --role-arn ${shellWord(identity ?? 'arn:aws:iam::ACCOUNT_ID:role/ROLE')}`,
      ];
    case 'azure':
      return [
        ...(identity === undefined
          ? ['az identity create --name IDENTITY --resource-group RESOURCE_GROUP --query clientId --output tsv']
          : []),
        azureCredential(subject),
      ];
  }
}

/** Text inside of quotation marks in HCL: templates are literal (hashicorp/hcl hclsyntax/spec.md, "Template Expressions"). */
export function hclText(text: string): string {
  return `"${text
    .replaceAll('\\', '\\\\')
    .replaceAll('"', '\\"')
    .replaceAll('\n', '\\n')
    // A dollar sign means something in a replacement.
    .replaceAll('${', () => '$${')
    .replaceAll('%{', '%%{')}"`;
}

function terraformName({ namespace, name }: Subject): string {
  return `${namespace}_${name}`.replaceAll(/[^A-Za-z0-9_]/g, '_').replace(/^(?=\d)/, '_');
}

function terraformOf(cloud: Cloud, subject: Subject, bindings: readonly CloudBinding[], facts: CloudFacts): string {
  const name = terraformName(subject);
  const identity = bindings.find((binding) => binding.identity !== undefined)?.identity;
  const user = `system:serviceaccount:${subject.namespace}:${subject.name}`;
  const project = facts.project ?? 'PROJECT_ID';
  switch (cloud) {
    case 'gcp': {
      const email = identity ?? `NAME@${project}.iam.gserviceaccount.com`;
      const owner = /@([a-z][a-z0-9-]*)\.iam\.gserviceaccount\.com$/.exec(email)?.[1] ?? project;
      return [
        `resource "google_service_account_iam_member" "${name}" {`,
        `  service_account_id = ${hclText(`projects/${owner}/serviceAccounts/${email}`)}`,
        '  role               = "roles/iam.workloadIdentityUser"',
        `  member             = ${hclText(gkeMember(subject, project))}`,
        '}',
      ].join('\n');
    }
    case 'aws':
      return [
        `data "aws_iam_policy_document" "${name}" {`,
        '  statement {',
        '    actions = ["sts:AssumeRoleWithWebIdentity"]',
        '    principals {',
        '      type        = "Federated"',
        '      identifiers = ["arn:aws:iam::ACCOUNT_ID:oidc-provider/OIDC_PROVIDER"]',
        '    }',
        '    condition {',
        '      test     = "StringEquals"',
        '      variable = "OIDC_PROVIDER:sub"',
        `      values   = [${hclText(user)}]`,
        '    }',
        '    condition {',
        '      test     = "StringEquals"',
        '      variable = "OIDC_PROVIDER:aud"',
        '      values   = ["sts.amazonaws.com"]',
        '    }',
        '  }',
        '}',
        '',
        `resource "aws_iam_role" "${name}" {`,
        `  name               = ${hclText(identity === undefined ? 'ROLE' : roleOfArn(identity))}`,
        `  assume_role_policy = data.aws_iam_policy_document.${name}.json`,
        '}',
      ].join('\n');
    case 'azure':
      return [
        `resource "azurerm_federated_identity_credential" "${name}" {`,
        `  name                = ${hclText(`${subject.namespace}-${subject.name}`)}`,
        '  resource_group_name = "RESOURCE_GROUP"',
        '  parent_id           = "IDENTITY_ID"',
        '  audience            = ["api://AzureADTokenExchange"]',
        '  issuer              = "ISSUER_URL"',
        `  subject             = ${hclText(user)}`,
        '}',
      ].join('\n');
  }
}

const FILL: Readonly<Record<Cloud, readonly string[]>> = {
  gcp: ['NAME: the Google service account', 'PROJECT_ID: gcloud config get-value project (that of the cluster)'],
  aws: [
    'ACCOUNT_ID: aws sts get-caller-identity --query Account --output text',
    "OIDC_PROVIDER: aws eks describe-cluster --name CLUSTER --query cluster.identity.oidc.issuer --output text, without 'https://'",
    'ROLE: the name of the role',
    'CLUSTER: the name of the cluster',
  ],
  azure: [
    'IDENTITY, RESOURCE_GROUP: the managed identity and its group; CLIENT_ID: its clientId; IDENTITY_ID: its id',
    'CLUSTER, CLUSTER_GROUP: the cluster and its group; ISSUER_URL: its oidcIssuerProfile.issuerUrl',
  ],
};

function placesToFill(moves: readonly CloudMove[], facts: CloudFacts): readonly string[] {
  return uniqueSorted(moves.map((move) => move.cloud)).flatMap((cloud) =>
    FILL[cloud as Cloud].filter((line) => !(line.startsWith('PROJECT_ID') && facts.project !== undefined)),
  );
}
