import { accountUser } from '../model/rbac.ts';
import { shellWord } from '../shared/pure/shell.ts';
import type { AccountName } from './account-mentions.ts';
import { AZURE_ANNOTATION, GKE_ANNOTATION, IRSA_ANNOTATION } from '../model/cloud-identity.ts';

/** What stands in capitals is not known from the cluster and is filled in by whoever runs the command. */
export interface CloudNames {
  readonly project?: string;
}

/** `name@project.iam.gserviceaccount.com` */
function projectOf(email: string): string | undefined {
  return /@([a-z][a-z0-9-]*)\.iam\.gserviceaccount\.com$/.exec(email)?.[1];
}

/** The name of a role by its ARN, its path left out (`arn:aws:iam::123456789012:role/path/name`). */
export function roleOfArn(arn: string): string {
  return arn.slice(arn.lastIndexOf('/') + 1);
}

export function gkeMember(
  { namespace, name }: Pick<AccountName, 'namespace' | 'name'>,
  project = 'PROJECT_ID',
): string {
  return `serviceAccount:${project}.svc.id.goog[${namespace}/${name}]`;
}

export function googleBinding(
  email: string,
  account: Pick<AccountName, 'namespace' | 'name'>,
  names: CloudNames = {},
): string {
  const project = projectOf(email);
  return [
    `gcloud iam service-accounts add-iam-policy-binding ${shellWord(email)}`,
    ...(project === undefined ? [] : [`--project ${shellWord(project)}`]),
    '--role roles/iam.workloadIdentityUser',
    `--member ${shellWord(gkeMember(account, names.project ?? 'PROJECT_ID'))}`,
  ].join(' ');
}

/** The trust policy for accounts and nobody else: both the subject and the audience are compared whole. */
export function irsaTrust(accounts: readonly Pick<AccountName, 'namespace' | 'name'>[]): string {
  const issuer = 'OIDC_PROVIDER';
  return JSON.stringify({
    Version: '2012-10-17',
    Statement: [
      {
        Effect: 'Allow',
        Principal: { Federated: `arn:aws:iam::ACCOUNT_ID:oidc-provider/${issuer}` },
        Action: 'sts:AssumeRoleWithWebIdentity',
        Condition: {
          StringEquals: {
            [`${issuer}:aud`]: 'sts.amazonaws.com',
            [`${issuer}:sub`]: accounts.map(({ namespace, name }) => accountUser(namespace, name)),
          },
        },
      },
    ],
  });
}

export function azureCredential(account: Pick<AccountName, 'namespace' | 'name'>): string {
  return [
    'az identity federated-credential create',
    `--name ${shellWord(`${account.namespace}-${account.name}`.slice(0, 120))}`,
    '--identity-name IDENTITY --resource-group RESOURCE_GROUP',
    '--issuer "$(az aks show --name CLUSTER --resource-group CLUSTER_GROUP --query oidcIssuerProfile.issuerUrl --output tsv)"',
    `--subject ${shellWord(accountUser(account.namespace, account.name))}`,
    '--audiences api://AzureADTokenExchange',
  ].join(' ');
}

/** What makes the cloud trust the new account beside the old one, which keeps its trust until it is taken away by hand. */
export function trustCommand(annotation: string, identity: string, to: AccountName): string {
  const account = { namespace: to.namespace, name: to.name };
  switch (annotation) {
    case GKE_ANNOTATION:
      return googleBinding(identity, account);
    case IRSA_ANNOTATION:
      return `add ${accountUser(to.namespace, to.name)} to the subjects of the trust policy: aws iam get-role --role-name ${shellWord(roleOfArn(identity))} --query Role.AssumeRolePolicyDocument > trust.json, then aws iam update-assume-role-policy --role-name ${shellWord(roleOfArn(identity))} --policy-document file://trust.json`;
    case AZURE_ANNOTATION:
      return `${azureCredential(account)} (its name and group: az identity list --query ${shellWord(`[?clientId=='${identity}'].{name:name,group:resourceGroup}`)})`;
    default:
      return '';
  }
}
