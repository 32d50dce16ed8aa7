import type { StandardRow, StandardsSection } from './model.ts';
import type { AssessmentReport } from './model.ts';

type Backing = Pick<
  AssessmentReport,
  'cluster' | 'evidence' | 'inventory' | 'map' | 'identities' | 'readiness' | 'plaintext' | 'surface' | 'progress'
>;
type State = StandardRow['state'];

function share(part: number, whole: number): State {
  if (whole === 0) return 'unknown';
  if (part === whole) return 'met';
  return part === 0 ? 'not-met' : 'partly';
}

/**
 * Where the cluster stands against the seven tenets of NIST SP 800-207, section 2.1, and the sections of the CIS Kubernetes Benchmark on
 * service accounts (5.1) and network policies (5.3). The titles are our own words. People, devices and images are outside of what was read.
 */
export function buildStandards(report: Backing): StandardsSection {
  return { nist: nist(report), cis: cis(report), note: NOTE };
}

const NOTE =
  'Titles are in our own words; the numbers are those of the documents (NIST SP 800-207 section 2.1; CIS Kubernetes Benchmark sections 5.1 and 5.3). An answer speaks of what was read here: workloads and their traffic. People, devices, images and the cloud around the cluster are outside of it.';

function nist(report: Backing): readonly StandardRow[] {
  const { cluster, evidence, inventory, map, identities, readiness, plaintext, progress } = report;
  const { namespaces } = readiness;
  const isolated = namespaces.reduce((sum, one) => sum + Math.min(one.isolatedIngress, one.isolatedEgress), 0);
  const meshed = namespaces.reduce((sum, one) => sum + one.inMesh, 0);
  const inIdentity = namespaces.filter((one) => one.phase === 'identity').length;
  const asked = identities.entrances.filter((one) => one.authentication !== 'none-found').length;
  const recognised = cluster.workloads - inventory.unrecognised;
  const tcp = map.edges.protocol.filter((code) => code === 0).length;
  const bare = plaintext.total;
  const row = (
    tenet: number,
    title: string,
    state: State,
    because: readonly string[],
    answeredBy: string,
    section: string,
  ): StandardRow => ({ id: `tenet ${tenet}`, title, state, because, answeredBy, section });
  return [
    row(
      1,
      'Every source of data and every service counts as a resource to be protected',
      share(recognised, cluster.workloads),
      [`${recognised} of ${cluster.workloads} workloads are recognised for what they are`],
      'inventory, monitor',
      'inventory',
    ),
    row(
      2,
      'All communication is protected, wherever in the network it runs',
      tcp === 0 ? 'unknown' : bare === 0 ? 'met' : meshed === 0 ? 'not-met' : 'partly',
      [
        `${meshed} of ${cluster.workloads} workloads are in a mesh`,
        `${bare} pairs of caller and port to a workload do not travel by mTLS for certain`,
      ],
      'permissive-mtls, strict-mtls',
      'plaintext',
    ),
    row(
      3,
      'Access is given to one resource at a time, for one session',
      inIdentity === 0 ? (isolated === 0 ? 'not-met' : 'partly') : share(inIdentity, namespaces.length),
      [
        `${isolated} of ${cluster.workloads} workloads are isolated in both directions`,
        `${inIdentity} of ${namespaces.length} namespaces admit callers by identity`,
      ],
      'allow-list, identity',
      'readiness',
    ),
    row(
      4,
      'Who may do what follows from a policy that looks at the identity of the caller and at its state',
      share(inIdentity, namespaces.length),
      [
        `${inIdentity} of ${namespaces.length} namespaces have policies on principals from Sallyport`,
        `${identities.totals.workloadsOnShared + identities.totals.workloadsOnDefault === 0 ? 'no' : 'some'} workloads share an account or use the default one (${identities.totals.workloadsOnShared} share, ${identities.totals.workloadsOnDefault} on default)`,
      ],
      'identity',
      'identities',
    ),
    row(
      5,
      'The state of everything owned is watched and measured',
      evidence.window === null ? 'not-met' : 'partly',
      [
        evidence.window === null ? 'no traffic is on record' : `${evidence.days} days of traffic are on record`,
        `${progress.totals.drift} fields have drifted from what was left there`,
        'the state of images and nodes is not looked at here',
      ],
      'monitor; verify',
      'evidence',
    ),
    row(
      6,
      'Who somebody is and what they may do is asked each time, strictly, before access',
      identities.entrances.length === 0
        ? 'unknown'
        : asked === identities.entrances.length && identities.totals.keys === 0
          ? 'met'
          : asked === 0 && inIdentity === 0
            ? 'not-met'
            : 'partly',
      [
        `${asked} of ${identities.entrances.length} entrances were found to ask who is calling`,
        `${identities.totals.keys} long-lived credentials are in use, by reference`,
      ],
      'identity',
      'identities',
    ),
    row(
      7,
      'As much as possible is learnt of assets, network and traffic, and used to get better',
      evidence.window === null
        ? 'not-met'
        : evidence.unseenWorkloads.length === 0 && evidence.unattributed.length === 0
          ? 'met'
          : 'partly',
      [
        `${map.totals.observed} edges observed, ${evidence.records} records`,
        `${evidence.unseenWorkloads.length} workloads were never seen in them`,
      ],
      'monitor',
      'evidence',
    ),
  ];
}

function cis(report: Backing): readonly StandardRow[] {
  const { cluster, identities, readiness } = report;
  const used = identities.accounts.filter((one) => one.workloads.length > 0);
  const bindings = identities.accounts.some((one) => one.roles.length > 0);
  const having = (text: string): readonly string[] =>
    used.flatMap((one) => (one.powerful.some((power) => power.includes(text)) ? [`${one.namespace}/${one.name}`] : []));
  const row = (
    id: string,
    title: string,
    found: readonly string[],
    none: string,
    answeredBy: string,
    section = 'identities',
    known = bindings,
  ): StandardRow => ({
    id,
    title,
    state: found.length > 0 ? 'not-met' : known ? 'partly' : 'unknown',
    because:
      found.length > 0
        ? [`${found.length}: ${found.slice(0, 5).join(', ')}${found.length > 5 ? ', ...' : ''}`]
        : [
            known
              ? `${none}; people, groups and accounts without workloads are not looked at`
              : 'no binding of a role was read',
          ],
    answeredBy,
    section,
  });
  const accounts = (list: typeof used): readonly string[] => list.map((one) => `${one.namespace}/${one.name}`);
  const without = readiness.namespaces.filter((one) => one.isolatedIngress === 0 && one.workloads > 0);
  const defaults = accounts(used.filter((one) => one.isDefault));
  const mounted = used.filter((one) => one.automount === 'yes' && one.roles.length === 0);
  return [
    row(
      '5.1.1',
      'The role that may do anything is bound only where it must be',
      having('can do anything'),
      'no account of a workload can do anything',
      'by hand',
    ),
    row(
      '5.1.2',
      'Few may read Secrets',
      having('reads every Secret'),
      'no account of a workload is bound to a role that was read and reads every Secret',
      'by hand',
    ),
    row(
      '5.1.3',
      'Roles name what they allow and use no wildcards',
      having('can do anything'),
      'no account of a workload has a role of wildcards that was read',
      'by hand',
    ),
    row(
      '5.1.4',
      'Few may make pods',
      having('makes pods'),
      'no account of a workload is bound to a role that was read and makes pods',
      'by hand',
    ),
    {
      ...row('5.1.5', 'Nothing runs as the default account', defaults, '', 'identity', 'identities', true),
      ...(defaults.length === 0
        ? { state: 'met' as const, because: ['no workload runs as the default account of its namespace'] }
        : {
            because: [
              `${identities.totals.workloadsOnDefault} workloads run as the default account of ${defaults.length} namespaces`,
            ],
          }),
    },
    {
      ...row(
        '5.1.6',
        'A token goes only into pods that call the API',
        accounts(mounted),
        '',
        'by hand',
        'identities',
        true,
      ),
      ...(mounted.length === 0
        ? {
            state: used.some((one) => one.automount === 'unknown') ? ('unknown' as const) : ('met' as const),
            because: ['no account without a role was seen to give its token to pods'],
          }
        : { because: [`${mounted.length} accounts give their token to pods though no role was found bound to them`] }),
    },
    row(
      '5.1.8',
      'Few may take on the rights of others',
      having('takes on the rights'),
      'no account of a workload is bound to a role that was read and may bind, escalate or impersonate',
      'by hand',
    ),
    {
      id: '5.3.1',
      title: 'The CNI enforces network policies',
      state: cluster.cni.enforces === 'yes' ? 'met' : cluster.cni.enforces === 'no' ? 'not-met' : 'unknown',
      because: [`CNI ${cluster.cni.name}: ${cluster.cni.because}`],
      answeredBy: 'gate enforcement of allow-list',
      section: 'cluster',
    },
    {
      id: '5.3.2',
      title: 'Every namespace has network policies',
      state: share(readiness.namespaces.length - without.length, readiness.namespaces.length),
      because: [
        `${readiness.namespaces.length - without.length} of ${readiness.namespaces.length} namespaces with workloads have a workload that a policy isolates`,
      ],
      answeredBy: 'allow-list',
      section: 'readiness',
    },
  ];
}
