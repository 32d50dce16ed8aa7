import type { ClusterNames } from '../model/cloud-cluster.ts';
import { GKE_ANNOTATION, googleMember, poolProject, roleSubjects } from '../model/cloud-identity.ts';
import type { BindingWay } from '../model/cloud-identity.ts';
import { accountUser } from '../model/rbac.ts';
import type { Json, JsonObject } from '../shared/pure/json.ts';
import { asArray, asObject, asString, isJsonObject } from '../shared/pure/json.ts';

/** What a cloud answered when it was asked whom an identity trusts: the JSON of `gcloud`, `aws` or `az`. */
export interface CloudProof {
  /** The file, for people. */
  readonly from: string;
  /** Whose answer it is: said by the operator where the output does not say so (gcloud, az). */
  readonly identity?: string;
  readonly trusts: readonly CloudTrust[];
}

export interface CloudTrust {
  readonly way: BindingWay;
  /** As the answer itself has it: an ARN. */
  readonly identity?: string;
  readonly namespace: string;
  readonly account: string;
  /** Admits others too: a pattern, or no condition on the subject. */
  readonly wide: boolean;
  /** Of Google: the project whose pool the account is of. */
  readonly project?: string;
  /** Of IRSA without `https://`, of Azure as it stands. */
  readonly issuer?: string;
  /** Of EKS Pod Identity. */
  readonly cluster?: string;
  /** Of IRSA: audiences that it asks for; absent where it asks for none. */
  readonly audiences?: readonly string[];
  /** Why it is not known whether the account is admitted. */
  readonly unsure?: string;
}

export type ParsedProof =
  { readonly kind: 'proof'; readonly proof: CloudProof } | { readonly kind: 'unreadable'; readonly why: string };

/** Which of the answers that are known a document is. */
export function parseCloudProof(value: Json, from: string, identity?: string): ParsedProof {
  const trusts = trustsOf(value);
  if (trusts === undefined)
    return {
      kind: 'unreadable',
      why: `${from} is none of: gcloud iam service-accounts get-iam-policy, aws iam get-role, aws eks describe-pod-identity-association or list-pod-identity-associations, az identity federated-credential list (each as JSON)`,
    };
  return { kind: 'proof', proof: { from, trusts, ...(identity === undefined ? {} : { identity }) } };
}

function trustsOf(value: Json): readonly CloudTrust[] | undefined {
  const object = asObject(value);
  if (Array.isArray(object['bindings'])) return googleTrusts(object['bindings'] as readonly Json[]);
  if (isJsonObject(object['Role'])) return roleTrusts(object['Role']);
  if (isJsonObject(object['association'])) return [associationTrust(object['association'])];
  if (Array.isArray(object['associations']))
    return (object['associations'] as readonly Json[]).map((one) => associationTrust(asObject(one)));
  if (
    Array.isArray(value) &&
    (value as readonly Json[]).every((one) => asString(asObject(one)['subject']) !== undefined)
  )
    return (value as readonly Json[]).flatMap((one) => azureTrust(asObject(one)));
  return undefined;
}

/** `roles/iam.workloadIdentityUser` alone lets an account of Kubernetes be the service account (cloud.google.com, "Workload Identity Federation for GKE"). */
function googleTrusts(bindings: readonly Json[]): readonly CloudTrust[] {
  return bindings.flatMap((item) => {
    const binding = asObject(item);
    // A binding under a condition may not hold now.
    if (asString(binding['role']) !== 'roles/iam.workloadIdentityUser' || binding['condition'] !== undefined) return [];
    return asArray(binding['members']).flatMap((member): readonly CloudTrust[] => {
      const found = googleMember(asString(member) ?? '');
      if (found === undefined) return [];
      const { way, namespace, account } = found;
      const project = poolProject(asString(member) ?? '');
      // The role is on the service account: to be it, and no access of the member's own, in whichever form the member is written.
      const of = {
        ...(project === undefined ? {} : { project }),
        ...(way === 'gke-annotation' ? {} : { unsure: 'it names the account as a principal of the pool' }),
      };
      return [{ way: 'gke-annotation', namespace, account: account ?? '*', wide: account === undefined, ...of }];
    });
  });
}

function roleTrusts(role: JsonObject): readonly CloudTrust[] {
  const document = role['AssumeRolePolicyDocument'];
  // The CLI decodes it; the API itself has it as URL-encoded text.
  const text = typeof document === 'string' ? decoded(document) : JSON.stringify(document ?? null);
  const arn = asString(role['Arn']);
  const identity = arn === undefined ? {} : { identity: arn };
  return roleSubjects(text).map((subject): CloudTrust => {
    const wide = /[*?]/.test(subject.namespace) || /[*?]/.test(subject.account);
    return { way: 'irsa', wide, ...subject, ...identity };
  });
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function associationTrust(one: JsonObject): CloudTrust {
  const identity = asString(one['roleArn']);
  const cluster = asString(one['clusterName']);
  return {
    way: 'eks-pod-identity',
    namespace: asString(one['namespace']) ?? '',
    account: asString(one['serviceAccount']) ?? '',
    wide: false,
    ...(identity === undefined ? {} : { identity }),
    ...(cluster === undefined ? {} : { cluster }),
  };
}

/** Entra compares issuer, subject and audience whole; AKS asks for the audience `api://AzureADTokenExchange`. */
function azureTrust(one: JsonObject): readonly CloudTrust[] {
  const match = /^system:serviceaccount:([^:]+):([^:]+)$/u.exec(asString(one['subject']) ?? '');
  const audiences = asArray(one['audiences']);
  if (match === null || !audiences.includes('api://AzureADTokenExchange')) return [];
  const issuer = asString(one['issuer']);
  const of = issuer === undefined ? {} : { issuer };
  return [{ way: 'azure-workload-identity', namespace: match[1] ?? '', account: match[2] ?? '', wide: false, ...of }];
}

export interface WantedTrust {
  readonly way: BindingWay;
  readonly namespace: string;
  readonly account: string;
  /** Absent where the way needs none inside of the cluster. */
  readonly identity?: string;
  /** Of Google: the project of the cluster, where the nodes name it. */
  readonly project?: string;
  /** What the cloud knows this cluster by, stated or seen. */
  readonly cluster: ClusterNames;
}

export interface TrustAnswer {
  readonly answer: 'yes' | 'no' | 'unknown';
  readonly facts: readonly string[];
}

/**
 * Do the cloud's own answers show that it trusts this account of this cluster? Without an answer about the identity, and where what the cluster
 * is known by is neither stated nor seen, nothing is known: the same names stand in other clusters too.
 */
export function provenTrust(wanted: WantedTrust, proofs: readonly CloudProof[]): TrustAnswer {
  if (wanted.way === 'gke-principal')
    return {
      answer: 'unknown',
      facts: [
        'access of a principal stands in the policies of each resource, which are not read here: roles/iam.workloadIdentityUser on a service account lets it be that account, and gives it nothing of its own',
      ],
    };
  const subject = accountUser(wanted.namespace, wanted.account);
  const about: { readonly proof: CloudProof; readonly trust: CloudTrust }[] = [];
  let speaks = false;
  for (const proof of proofs) {
    const mine = proof.trusts.filter(({ way }) => way === wanted.way);
    const named = (trust: CloudTrust): string | undefined => trust.identity ?? proof.identity;
    const relevant = mine.filter(
      (trust) =>
        wanted.identity === undefined ||
        named(trust) === wanted.identity ||
        // A list of associations names accounts and leaves the roles out.
        (trust.way === 'eks-pod-identity' && named(trust) === undefined),
    );
    if (relevant.length > 0 || (proof.identity !== undefined && proof.identity === wanted.identity)) speaks = true;
    for (const trust of relevant) about.push({ proof, trust });
  }
  const wide = about.filter(({ trust }) => trust.wide);
  if (wide.length > 0)
    return {
      answer: 'no',
      facts: wide.map(({ proof }) => `${proof.from}: it trusts accounts by a pattern, and so others than ${subject}`),
    };
  const judged = about
    .filter(({ trust }) => trust.namespace === wanted.namespace && trust.account === wanted.account)
    .map(({ proof, trust }): TrustAnswer => {
      const { answer, why } = ofThisCluster(wanted, trust, trust.identity ?? proof.identity);
      return { answer, facts: [`${proof.from}: it trusts ${subject}`, why] };
    });
  for (const answer of ['yes', 'unknown', 'no'] as const) {
    const found = judged.find((one) => one.answer === answer);
    if (found !== undefined) return found;
  }
  if (speaks) return { answer: 'no', facts: [`the cloud's answer about this identity does not name ${subject}`] };
  return { answer: 'unknown', facts: ['no answer of the cloud was given: what it trusts cannot be seen from here'] };
}

const ISSUER = 'state it: --issuer URL, or cloud.issuer in the configuration';
const EKS_CLUSTER = 'state it: --eks-cluster NAME, or cloud.eksCluster in the configuration';
const STS = 'sts.amazonaws.com';

/** Is the account that a trust names the one of this cluster? Each cloud tells clusters apart by something else. */
function ofThisCluster(
  wanted: WantedTrust,
  trust: CloudTrust,
  identity: string | undefined,
): { readonly answer: TrustAnswer['answer']; readonly why: string } {
  if (trust.audiences !== undefined && !trust.audiences.includes(STS))
    return { answer: 'no', why: `it asks for the audience ${trust.audiences.join(', ')}, and pods are given ${STS}` };
  const marks: Readonly<Record<BindingWay, readonly [string, string | undefined, string | undefined, string]>> = {
    'gke-annotation': ['pool of the project', trust.project, wanted.project, 'no node names its project'],
    'gke-principal': ['pool of the project', trust.project, wanted.project, 'no node names its project'],
    irsa: ['issuer', trust.issuer, wanted.cluster.issuer?.replace(/^https:\/\//u, ''), ISSUER],
    'azure-workload-identity': ['issuer', trust.issuer, wanted.cluster.issuer, ISSUER],
    'eks-pod-identity': ['cluster', trust.cluster, wanted.cluster.eksCluster, EKS_CLUSTER],
    kube2iam: ['cluster', undefined, undefined, 'nothing states it'],
  };
  const [what, theirs, ours, state] = marks[wanted.way];
  if (theirs !== undefined && ours !== undefined && theirs !== ours)
    return { answer: 'no', why: `of the ${what} ${theirs}, and this cluster is of ${ours}` };
  if (trust.unsure !== undefined) return { answer: 'unknown', why: trust.unsure };
  if (theirs === undefined) return { answer: 'unknown', why: `it does not say of which ${what}` };
  if (ours === undefined)
    return {
      answer: 'unknown',
      why: `of the ${what} ${theirs}: whether that is this cluster's is not known (${state})`,
    };
  if (wanted.identity !== undefined && identity === undefined)
    return {
      answer: 'unknown',
      why: 'which role that is it does not say: aws eks describe-pod-identity-association does',
    };
  return { answer: 'yes', why: `of the ${what} ${theirs}, which is this cluster's` };
}

/** The command whose JSON answers it. */
export function proofCommand({ way, identity, namespace, account }: WantedTrust): string {
  switch (way) {
    case 'gke-annotation':
      return `gcloud iam service-accounts get-iam-policy ${identity ?? 'EMAIL'} --format json > trust.json, then --proof ${identity ?? 'EMAIL'}=trust.json`;
    case 'irsa':
      return `aws iam get-role --role-name ${identity === undefined ? 'ROLE' : identity.slice(identity.lastIndexOf('/') + 1)} > trust.json, then --proof trust.json`;
    case 'eks-pod-identity':
      return `aws eks list-pod-identity-associations --cluster-name CLUSTER --namespace ${namespace} --service-account ${account} > trust.json, then --proof trust.json`;
    case 'azure-workload-identity':
      return `az identity federated-credential list --identity-name IDENTITY --resource-group RESOURCE_GROUP > trust.json, then --proof ${identity ?? 'CLIENT_ID'}=trust.json`;
    case 'gke-principal':
    case 'kube2iam':
      return `no answer of the cloud that is read here shows it (${GKE_ANNOTATION} can be checked)`;
  }
}
