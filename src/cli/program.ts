import { Argument, Command, CommanderError, Option } from 'commander';
import { EXIT, Failure } from '../shared/pure/errors.ts';
import { DIALECTS } from '../model/config.ts';
import { PHASES } from '../model/phase.ts';
import { beside, FORMATS } from './output.ts';
import { checkCommandLine, typedOptions } from './check-command-line.ts';
import type { AccountsOptions } from './commands/accounts.ts';
import type { AssessOptions } from './commands/assess.ts';
import type { CheckOptions } from './commands/check.ts';
import type { CloudApplyOptions } from './commands/cloud-identity-apply.ts';
import type { CloudIdentityOptions } from './commands/cloud-identity.ts';
import type { GrantOptions } from './grant-request.ts';
import type { ChaosOptions } from './commands/chaos.ts';
import type { IncidentOptions } from './commands/incident.ts';
import type { ObserveOptions } from './commands/observe.ts';
import type { PatternOptions } from './commands/pattern.ts';
import type { RehearseOptions } from './commands/rehearse.ts';
import type { ReachOptions } from './commands/reach.ts';
import type { TuneOptions } from './commands/tune.ts';
import type { VerifyOptions } from './commands/verify.ts';
import type { WatchOptions } from './commands/watch.ts';
import type { Shell } from './completion-script.ts';
import type { App, GlobalOptions } from './context.ts';
import type { FlowSource } from '../sources/flow-source.ts';

/** What a command gives back: an exit code; anything else is 0. */
type Action = (app: App) => Promise<unknown>;

export interface Invocation {
  readonly options: GlobalOptions;
  readonly action: Action | undefined;
  /** Its name alone: what else was typed may be anything. */
  readonly command: string;
}

/** As programs built on cobra name it: kubectl asks its plugins by the same words. */
const COMPLETE = '__complete';

/** Not a source of traffic: it says whose the addresses in traffic were. */
const ADDRESSES =
  'of the cluster itself: who holds which address, for sources that know addresses alone; with --follow as pods come and go';

const GLOBAL_HELP = 'Flags for every command, before or after it:';
const GLOBAL_HINT = `
Flags for every command (--manifests, --state, --kubeconfig, --context, --json,
--yes, --decisions, --config, ...) and exit codes: sallyport --help
`;

function examples(...lines: readonly string[]): string {
  return `\nExamples:\n${lines.map((line) => `  ${line}`).join('\n')}\n`;
}

/** `names`: where the result is a list of things that other commands take. */
function format(names: boolean): Option {
  return new Option('-o, --output <format>', 'wide breaks no line; json is --json').choices(
    FORMATS.filter((one) => names || one !== 'name'),
  );
}

const EXIT_CODES = `
Exit codes:
  0  done                          5  the state file
  1  a bug of ours                 6  drift or a violation found
  2  wrong use or bad input        7  partly done; what is listed
  3  refused by a gate, or held    8  pulled back in soak and undone
     by another run              130  cancelled
  4  the cluster failed us; the state is safe
`;

interface Built {
  readonly program: Command;
  /** What commander said of a wrong call. */
  readonly errors: readonly string[];
  /** What the parsed command does. */
  readonly action: () => Action | undefined;
}

/** The table of commands. The sources of flows are given where help or completion names them. */
function buildProgram(
  sources: readonly Pick<FlowSource, 'name' | 'summary' | 'example'>[],
  version: string,
  write: (text: string) => void,
): Built {
  let action: Action | undefined;
  const program = new Command('sallyport');
  const errors: string[] = [];
  program
    .description(
      'Moves the namespaces of a Kubernetes cluster that runs ML pipelines to zero trust, step by step, with proof and a way back. Without a command, on a terminal: the interactive session.',
    )
    .version(version, '--version', 'print the version')
    .exitOverride()
    .configureOutput({ writeOut: write, writeErr: (text) => errors.push(text) })
    .showSuggestionAfterError(true)
    .configureHelp({
      helpWidth: 80,
      minWidthToWrap: 20,
      subcommandTerm: (command) =>
        [
          command.name(),
          ...command.registeredArguments.map((one) =>
            one.required ? `<${one.name()}>` : `[${one.name()}${one.variadic ? '...' : ''}]`,
          ),
        ].join(' '),
    })
    .optionsGroup(GLOBAL_HELP)
    .option('--state <file>', 'SQLite state (default: <id>.sqlite in $XDG_STATE_HOME/sallyport)')
    .option('--kubeconfig <file>', 'kubeconfig to use')
    .option('--context <name>', 'context of the kubeconfig')
    .option('--as <user>', 'impersonate this user')
    .option('--manifests <dir>', 'a directory of manifests instead of a cluster')
    .option('--default-namespace <ns>', 'for manifests that name no namespace')
    .option('--now <time>', 'the moment for windows and schedules (default with --manifests: the newest record)')
    .option('--json', 'one JSON document on standard output')
    .option('--yes', 'confirm the plan; never accepts edges')
    .option('--plan-hash <hash>', 'refuse if the plan is not this one')
    .option('--decisions <file>', 'decisions beside those in the state')
    .option('--config <file>', 'gates and facts of the cluster (YAML)')
    .option('--no-color', 'no colour')
    .option('--plain', 'the session without cursor movement, for screen readers (or SALLYPORT_PLAIN=1)')
    .addOption(
      new Option('--progress <how>', 'lines of text, or of JSON for programs, on standard error')
        .choices(['text', 'json'])
        .default('text'),
    )
    .option('--otlp <url>', 'send traces there, as OTLP over HTTP (or OTEL_EXPORTER_OTLP_ENDPOINT)')
    .addHelpText(
      'after',
      `${EXIT_CODES}\nPhases, in order: ${PHASES.filter((phase) => phase !== 'none').join(', ')}\n${examples(
        'sallyport demo',
        'sallyport inventory --manifests ./cluster',
        'sallyport observe hubble flows.json.gz --manifests ./cluster',
        'sallyport plan shop --to allow-list --manifests ./cluster',
        'sallyport advance shop --yes --plan-hash 3f2a90c1d4e5',
      )}`,
    );

  const phases = PHASES.filter((phase) => phase !== 'none').join(', ');
  const set = (make: Action): void => {
    action = make;
  };

  program
    .command('demo')
    .description('a complete session on the bundled example, no cluster needed')
    .option('--keep <dir>', 'keep the example cluster and the state there')
    .addHelpText('after', examples('sallyport demo', 'sallyport demo --keep ./try-it'))
    .action((options: { keep?: string }) =>
      set(async (app) => (await import('./commands/demo.ts')).demo(app, options)),
    );
  program
    .command('inventory')
    .description('namespaces, workloads, and what each of them is and why')
    .option('--namespace <ns>', 'this namespace alone')
    .addOption(format(true))
    .addHelpText('after', examples('sallyport inventory', 'sallyport inventory --namespace shop --json'))
    .action((options: { namespace?: string }) =>
      set(async (app) => (await import('./commands/inventory.ts')).inventory(app, options)),
    );
  program
    .command('observe')
    .description('import flows from a source; - is standard input')
    .argument('<source>', sources.map((source) => source.name).join(', '))
    .argument(
      '[input...]',
      'files, plain or gzip; the address of an engine (http://, grpc://); without any: standard input',
    )
    .addOption(
      new Option(
        '--bad-records <what>',
        'a malformed record aborts the import, or is skipped and counted (default: abort; with --follow: skip)',
      ).choices(['abort', 'skip']),
    )
    .option('-f, --follow', 'go on with what comes: growing files, a pipe, a server; goes on where the last time ended')
    .option('--for <time>', 'with --follow: end after 30m, 12h, 7d')
    .option('--since <time>', 'of an address: from when, or how long ago (default: 7d)')
    .option('--until <time>', 'of an address: until when (default: the last whole hour)')
    .option(
      '--query <query>',
      "of an address: in place of the source's own query; of files, with edges: SQL over the table archive",
    )
    .option('--token-file <file>', 'of an address: a bearer token, or user:password')
    .option('--ca <file>', 'of an address: certificates of authorities to trust')
    .option('--cert <file>', 'of an address: your own certificate')
    .option('--key <file>', 'of an address: the key of your own certificate')
    .option('--server-name <name>', "of an address: the name in the server's certificate, where it is not the host")
    .addHelpText(
      'after',
      `\nSources:\n${sources.flatMap((source) => beside(`  ${source.name}`, source.summary, 22, 80)).join('\n')}\n${beside('  addresses', ADDRESSES, 22, 80).join('\n')}\n${examples('sallyport observe hubble flows.json.gz', ...sources.map((source) => source.example), "sallyport observe hubble --follow '/var/run/cilium/hubble/events*.log'", 'sallyport observe hubble --follow grpc://127.0.0.1:4245 --for 7d', "sallyport observe edges http://clickhouse:8123 --query 'SELECT ...'", 'sallyport observe addresses --follow --for 8h')}`,
    )
    .action((source: string, inputs: readonly string[], options: ObserveOptions) =>
      set(async (app) => (await import('./commands/observe.ts')).observe(app, source, inputs, options)),
    );
  program
    .command('flows')
    .description('the edges on record')
    .option('--namespace <ns>', 'edges that touch this namespace')
    .addOption(format(true))
    .addHelpText('after', examples('sallyport flows --namespace shop', 'sallyport flows --json'))
    .action((options: { namespace?: string }) =>
      set(async (app) => (await import('./commands/flows.ts')).flows(app, options)),
    );
  program
    .command('suggest')
    .description('candidate policies as YAML, each rule with its evidence as a comment')
    .argument('<ns>', 'namespace')
    .addOption(dialectOption())
    .option('--staged', 'as policies that are only rehearsed, where the dialect has such a kind (Calico)')
    .addHelpText(
      'after',
      examples(
        'sallyport suggest shop --dialect cilium',
        'sallyport suggest shop > policies.yaml',
        'sallyport suggest shop | kubectl apply --dry-run=server -f -',
      ),
    )
    .action((ns: string, options: { staged?: boolean }) =>
      set(async (app) => (await import('./commands/suggest.ts')).suggest(app, ns, options)),
    );
  program
    .command('plan')
    .description('steps, diffs, simulated effect, gates and hash; writes nothing')
    .argument('<ns>', 'namespace')
    .option('--to <phase>', `phase to reach (default: the next one): ${phases}`)
    .option('--states <dir>', 'write the manifests of the cluster after each step there')
    .addOption(dialectOption())
    .addOption(approvalOption())
    .option('--git <dir>', 'as it would be written into this Git working tree')
    .addOption(layoutOption())
    .addOption(format(false))
    .addHelpText('after', examples('sallyport plan shop', 'sallyport plan shop --to identity --states ./states'))
    .action((ns: string, options: { to?: string; states?: string }) =>
      set(async (app) => (await import('./commands/plan.ts')).plan(app, ns, options)),
    );
  const advance = program
    .command('advance')
    .description('plan, confirm, apply, soak, verify')
    .argument('[ns]', 'namespace; none with --all')
    .option('--all', 'every namespace, wave after wave, to the phase of --to')
    .option('--pause <time>', 'with --all: between two waves (10m)')
    .option('--to <phase>', `phase to reach (default: the next one): ${phases}`)
    .option('--detach', 'leave the watch after the last step to resume')
    .addOption(dialectOption())
    .option('--ticket <id>', 'the change request that this is done under: stands on the audit trail')
    .addOption(approvalOption());
  gitOptions(advance)
    .addHelpText(
      'after',
      `
With --git the steps are committed to a Git working tree, for Flux or Argo CD to
apply: docs/gitops.md.

On a live cluster each phase is watched after its last step (soak.minutes in the
configuration) by the signals named there. Denied legitimate traffic takes the
run back: exit 8. An edge not seen anew by the end keeps the run soaking: exit
3, and resume asks again.
${examples(
  'sallyport advance shop',
  'sallyport advance shop --to allow-list --yes --plan-hash 3f2a90c1d4e5',
  'sallyport advance shop --detach',
  'sallyport advance --all --to allow-list --yes --pause 30m',
  'sallyport advance shop --git ../deploy/clusters/prod --yes --push --wait 20m',
)}`,
    )
    .action((ns: string | undefined, options: { to?: string; detach?: boolean; all?: boolean; pause?: string }) =>
      set(async (app) =>
        ns === undefined || options.all === true
          ? (await import('./commands/fleet.ts')).advanceSome(app, ns, options)
          : (await import('./commands/run.ts')).advance(app, ns, options),
      ),
    );
  program
    .command('approve')
    .description('say yes to a plan that somebody else carries out')
    .argument('<ns>', 'namespace')
    .option('--to <phase>', `the phase that the plan reaches (default: the next one): ${phases}`)
    .option('--plan <hash>', 'of the plan, or its first 12 digits')
    .addOption(dialectOption())
    .option('--reason <text>', 'stands on the audit trail')
    .addHelpText(
      'after',
      `
Where the configuration asks for approvals (changes.approvals), advance waits
for so many people other than the one who calls it. An approval is of one plan:
it ends when the plan changes, when a run has used it, and after a day. It is
kept in the state; with --json it is also a document to pass on, which advance
takes with --approval FILE. A rollback needs none.
${examples(
  'sallyport approve shop --to allow-list --plan 3f2a90c1d4e5 --reason "seen with ops"',
  'sallyport approve shop --plan 3f2a90c1d4e5 --reason "ok" --json > approval.json',
  'sallyport advance shop --plan-hash 3f2a90c1d4e5 --approval approval.json',
)}`,
    )
    .action((ns: string, options: { to?: string; plan?: string; reason?: string }) =>
      set(async (app) => (await import('./commands/approve.ts')).approve(app, ns, options)),
    );
  const rollback = program
    .command('rollback')
    .description('the same, backwards, from the record')
    .argument('<ns>', 'namespace')
    .option('--to <phase>', `phase to go back to (default: one phase back): none, ${phases}`)
    .option('--ticket <id>', 'the change request that this is done under: stands on the audit trail');
  gitOptions(rollback)
    .addHelpText(
      'after',
      examples(
        'sallyport rollback shop',
        'sallyport rollback shop --to none --yes',
        'sallyport rollback shop --git ../deploy/clusters/prod',
      ),
    )
    .action((ns: string, options: { to?: string }) =>
      set(async (app) => (await import('./commands/run.ts')).rollback(app, ns, options)),
    );
  program
    .command('grant')
    .description('access that ends by itself: one connection, or a shell in pods for a person')
    .addArgument(new Argument('[what]', 'without it: grant').choices(['list', 'revoke', 'expire']))
    .argument('[grant]', 'of revoke: its id')
    .option('--from <workload>', 'who connects')
    .option('--to <workload>', 'to whom')
    .option('--port <port>', 'to which port: 5432 (TCP), 53/udp')
    .option('--protocol <protocol>', 'TCP, UDP or SCTP')
    .option('--user <who>', 'a person, as the API server names them')
    .option('--group <who>', 'a group of them')
    .addOption(podOption('--exec <pod>', 'namespace/name of a pod in which to run commands; may be given again'))
    .addOption(podOption('--port-forward <pod>', 'of a pod whose ports to forward; may be given again'))
    .option('--for <time>', 'how long: 30m, 2h')
    .option('--until <time>', 'or until when, ISO 8601: the same plan each time')
    .option('--reason <text>', 'stands on the audit trail')
    .option('--in-cluster', 'of expire: by the objects alone, without a state, as the CronJob does')
    .option('--approve', 'say yes to this very grant, which somebody else opens; with --until')
    .option('--ticket <id>', 'the change request that this is done under: stands on the audit trail')
    .addOption(approvalOption())
    .addOption(format(true))
    .addHelpText(
      'after',
      `
Opens exactly what is asked for, in every layer that holds it back, or nothing:
the evaluator compares every pair of workloads before and after. It ends at its
time, also when this machine is off, where the CronJob of templates/grants runs;
every run, status and watch name or end what is over. See docs/grants.md.
${examples(
  'sallyport grant --from desk/Deployment/toolbox --to shop/Deployment/db --port 5432 --for 30m --reason "incident 17"',
  'sallyport grant --user jane@example.com --exec shop/web-7d4f --for 1h --reason "incident 17"',
  'sallyport grant list',
  'sallyport grant revoke g3f2a90c1',
  'sallyport grant expire',
)}`,
    )
    .action((what: string | undefined, id: string | undefined, options: GrantOptions) =>
      set(async (app) => {
        if (what === undefined) return (await import('./commands/grant.ts')).openGrant(app, options);
        const end = await import('./commands/grant-end.ts');
        if (what === 'list') return end.listGrants(app);
        if (what === 'revoke') return end.revokeGrant(app, id);
        return end.expireGrants(app, options);
      }),
    );
  program
    .command('break-glass')
    .description('suspend what the phase of a namespace enforces, for a while; the phase stays on record')
    .argument('<ns>', 'namespace')
    .option('--for <time>', 'how long: 30m, 2h')
    .option('--until <time>', 'or until when, ISO 8601')
    .option('--reason <text>', 'stands on the audit trail')
    .option('--approve', 'say yes to it, which somebody else carries out; with --until')
    .option('--ticket <id>', 'the change request that this is done under: stands on the audit trail')
    .addOption(approvalOption())
    .addHelpText(
      'after',
      `
It comes back by itself as a grant does; sallyport grant revoke ID brings it
back now. Policies of other namespaces and of administrators stand as they are.
${examples('sallyport break-glass shop --for 30m --reason "incident 17"')}`,
    )
    .action((ns: string, options: GrantOptions) =>
      set(async (app) => (await import('./commands/grant.ts')).breakGlass(app, ns, options)),
    );
  program
    .command('resume')
    .description('finish what a crash or Ctrl-C left behind, and end what soaks')
    .option('--git <dir>', 'of a run that goes through Git: the clone, where it has moved')
    .option('--wait <time>', 'of a run that goes through Git: wait for it so long')
    .option('--push', 'of a run that goes through Git: push what is committed')
    .addHelpText(
      'after',
      `
A run that soaks is asked once: done (0), pulled back (8), or soaking on (3).
${examples('sallyport resume', 'sallyport resume --json')}`,
    )
    .action(() => set(async (app) => (await import('./commands/run.ts')).resume(app)));
  program
    .command('doctor')
    .description('what this kubeconfig may and may not do, and what is missing')
    .option('--namespace <ns>', 'ask for this namespace alone, where roles are bound per namespace')
    .addOption(
      new Option('--role <name>', 'name what is missing of a role that is bound beside the others').choices([
        'watcher',
        'prober',
        'drainer',
        'cluster-policies',
        'mesh-traffic',
        'responder',
        'actor',
        'actor-pods',
        'access',
      ]),
    )
    .addOption(format(false))
    .addHelpText(
      'after',
      examples(
        'sallyport doctor',
        'sallyport doctor --namespace shop --as system:serviceaccount:ops:sallyport',
        'sallyport doctor --role actor-pods --namespace shop',
      ),
    )
    .action((options: { namespace?: string; role?: string }) =>
      set(async (app) => (await import('./commands/doctor.ts')).doctor(app, options)),
    );
  for (const [name, text, example] of [
    ['accept', 'edges that may be cut', 'sallyport accept src=shop/Pod/debug --reason "a forgotten toolbox"'],
    [
      'waive',
      'a gate or an unknown',
      'sallyport waive gate=coverage,subject=shop/egress --reason "fixed code, four peers"',
    ],
    [
      'adopt',
      'observed or declared edges as legitimate',
      'sallyport adopt src=shop/CronJob/report --reason "runs on Mondays"',
    ],
    [
      'withdraw',
      'take back what was accepted, adopted or waived',
      'sallyport withdraw gate=coverage,subject=shop/egress --reason "its peers have changed"',
    ],
  ] as const)
    program
      .command(name)
      .description(text)
      .argument(
        '<query>',
        name === 'waive'
          ? 'comma-joined key=value, all must hold; keys: gate ns subject; * matches within a value'
          : `comma-joined key=value, all must hold; keys: ns src dst port verdict before id${name === 'withdraw' ? ', or gate ns subject' : ''}; * matches within a value`,
      )
      .option('--reason <text>', 'stands on the audit trail')
      .addHelpText('after', examples(example))
      .action((query: string, options: { reason?: string }) =>
        set(async (app) => (await import('./commands/decide.ts')).decide(app, name, query, options)),
      );
  program
    .command('resolve')
    .description('a field of ours that somebody else changed: which version stays')
    .argument('<object>', 'as verify names it: "Kind namespace/name"')
    .addOption(
      new Option('--keep <version>', 'without it the three versions are shown').choices(['ours', 'theirs', 'before']),
    )
    .option('--reason <text>', 'stands on the audit trail')
    .addHelpText(
      'after',
      `
ours    what Sallyport wrote: put back now, simulated and confirmed like a run
theirs  what is there now: left by every rollback, no drift as long as it stays
before  what was there before Sallyport: put back by the next rollback
${examples('sallyport resolve "NetworkPolicy shop/sallyport-web-ingress"', 'sallyport resolve "Namespace shop" --keep theirs --reason "the platform team took it over"')}`,
    )
    .action((object: string, options: { keep?: string; reason?: string }) =>
      set(async (app) => (await import('./commands/resolve.ts')).resolve(app, object, options)),
    );
  program
    .command('state')
    .description('the state on another machine: export, import, or rebuild it from what is kept in the cluster')
    .argument('<action>', 'export, import or rebuild')
    .argument('[file]', 'of export and import; - is standard output or input')
    .addHelpText(
      'after',
      examples('sallyport state export state.backup', 'sallyport state import state.backup', 'sallyport state rebuild'),
    )
    .action((what: string, file: string | undefined) =>
      set(async (app) => (await import('./commands/state.ts')).stateCommand(app, what, file)),
    );
  program
    .command('status')
    .description('where each namespace stands, from the state alone')
    .option('--namespace <ns>', 'this namespace alone')
    .option('--watch', 'show it again whenever it changes, until Ctrl-C')
    .addOption(format(true))
    .addHelpText('after', examples('sallyport status', 'sallyport status --watch', 'sallyport status --json'))
    .action((options: { namespace?: string; watch?: boolean }) =>
      set(async (app) => (await import('./commands/status.ts')).status(app, options)),
    );
  program
    .command('audit')
    .description('who did what, when and why')
    .option('--namespace <ns>', 'this namespace alone')
    .addOption(format(false))
    .addHelpText('after', examples('sallyport audit --namespace shop'))
    .action((options: { namespace?: string }) =>
      set(async (app) => (await import('./commands/status.ts')).audit(app, options)),
    );
  program
    .command('verify')
    .description('drift and gates, as the cluster is now; exit 6 when something is off')
    .argument('[ns]', 'namespace')
    .addOption(
      new Option('-o, --output <format>', 'junit and sarif are for servers of CI; json is --json').choices([
        'wide',
        'json',
        'yaml',
        'junit',
        'sarif',
      ]),
    )
    .option(
      '--probe',
      'prove it by real connections, from pods that are gone afterwards (probe.image in the configuration)',
    )
    .option('--probe-file <file>', 'the pairs that must pass and must fail (YAML)')
    .option('--probe-suggest', 'print a file of pairs to begin with')
    .addHelpText(
      'after',
      examples(
        'sallyport verify',
        'sallyport verify shop --json',
        'sallyport verify -o junit > verify.xml',
        'sallyport verify --probe-suggest > probes.yaml',
        'sallyport verify --probe --probe-file probes.yaml --yes -o junit > probes.xml',
      ),
    )
    .action((ns: string | undefined, options: VerifyOptions) =>
      set(async (app) => (await import('./commands/verify.ts')).verify(app, ns, options)),
    );
  program
    .command('watch')
    .description('follow cluster and flows, and tell what drifts, what is open and who is new; end runs that soak')
    .argument('[source]', 'a source of flows to follow and put on record, as observe --follow does')
    .argument('[input...]', 'its files, or the address of a server (grpc://)')
    .option('--listen <address>', 'answer /healthz, /readyz and /metrics there: :9464')
    .option('--lead <ns>', 'one of several leads, by a Lease in this namespace; the others wait')
    .option('--for <time>', 'end after 30m, 12h, 7d')
    .option('--act', 'carry out by itself what rules of the configuration say, within their limits; needs --lead')
    .option('--no-soak', 'leave runs that soak to resume')
    .addOption(
      new Option('-o, --output <format>', 'jsonl: a line of JSON for each notice, also on a terminal').choices([
        'jsonl',
      ]),
    )
    .addHelpText(
      'after',
      `
On a terminal it is a page; elsewhere lines of JSON on standard output. It
writes what it follows to the state, and takes a run back that a soak condemns.
Rules of the configuration (triggers) propose answers to incidents; with --act
they carry them out, within limits, until sallyport incident stop.
${examples(
  'sallyport watch',
  'sallyport watch hubble grpc://127.0.0.1:4245',
  'sallyport watch -o jsonl --listen 127.0.0.1:9464 | jq .text',
  'sallyport watch hubble grpc://127.0.0.1:4245 --lead sallyport --act',
)}`,
    )
    .action((source: string | undefined, inputs: readonly string[], options: WatchOptions) =>
      set(async (app) => (await import('./commands/watch.ts')).watch(app, source, inputs, options)),
    );
  program
    .command('explain')
    .description('what a code such as SP403 means, its likely causes, and what to do')
    .argument('<code>', 'as messages and findings have it')
    .addHelpText('after', examples('sallyport explain SP403', 'sallyport explain SP600 --json'))
    .action((code: string) => set(async (app) => (await import('./commands/explain.ts')).explain(app, code)));
  program
    .command('reach')
    .description('who can connect to whom under the policies as they stand, and why')
    .option('--from <workload>', 'only from this workload; * matches within an id')
    .option('--to <workload>', 'only to this workload; * matches within an id')
    .option('--port <port>', 'only this port: 8080 (TCP), 53/udp')
    .option('--policies <dir>', 'as if the policies of this directory were applied too')
    .option('--diff <dir>', 'what would change if the policies of this directory were the only ones')
    .option('--mesh', 'ask the policies and the mTLS of the mesh too')
    .option('--explain', 'what decides, where it stands, and what would turn it over')
    .addOption(
      new Option('-o, --output <format>', 'how to print it').choices(['text', 'json', 'csv', 'dot', 'mermaid']),
    )
    .addHelpText(
      'after',
      examples(
        'sallyport reach --manifests ./cluster',
        'sallyport reach --to shop/Deployment/db --port 5432 --explain',
        "sallyport reach --from 'shop/*' --policies ./new -o csv",
        'sallyport reach --diff ./proposed',
      ),
    )
    .action((options: ReachOptions) => set(async (app) => (await import('./commands/reach.ts')).reach(app, options)));
  program
    .command('accounts')
    .description(
      'service accounts: who shares them, what they may really do, their tokens and cloud identities, before and after',
    )
    .option('-n, --namespace <ns>', 'this namespace alone')
    .addOption(
      repeated(
        '--audit-log <file>',
        'events of the API server (audit.k8s.io/v1): which rights were not used; may be given again',
      ),
    )
    .addOption(format(true))
    .addHelpText(
      'after',
      `
Rights are those of Roles and ClusterRoles, aggregated ones too, by every
binding to the account or to a group that it is in. Secrets are named and never
read.
${examples(
  'sallyport accounts',
  'sallyport accounts -n shop --audit-log audit.log --audit-log audit-2.log.gz',
  'sallyport accounts --json | jq .after',
)}`,
    )
    .action((options: AccountsOptions) =>
      set(async (app) => (await import('./commands/accounts.ts')).accounts(app, options)),
    );
  program
    .command('cloud-identity')
    .description('who has an identity of a cloud and who a long-lived key, and what replaces the key on both sides')
    .addArgument(
      new Argument('[action]', 'show; apply and remove are runs on the side of the cluster').choices([
        'show',
        'apply',
        'remove',
      ]),
    )
    .option('-n, --namespace <ns>', 'this namespace alone; apply and remove need it')
    .option('--terraform', "print the cloud's side as Terraform (HCL) alone")
    .addOption(repeated('--identity <workload=identity>', 'the e-mail, ARN or client id that a workload is to have'))
    .addOption(repeated('--workload <w>', 'apply: this workload alone; may be given again'))
    .addOption(repeated('--way <way>', 'eks-pod-identity or gke-principal, in place of the annotation of IRSA or GKE'))
    .addOption(
      repeated(
        '--proof <[identity=]file>',
        'what the cloud answered, as JSON of gcloud, aws or az: it trusts the account',
      ),
    )
    .option('--issuer <url>', 'the issuer of this cluster, which a proof for EKS (IRSA) or AKS must name')
    .option('--eks-cluster <name>', 'the name of this cluster, which a proof for EKS Pod Identity must name')
    .option('--keep-key', 'apply: annotate and open the path; the key stays where it is')
    .option('--project-token', "apply: put the token for AWS's STS into the pods, where no webhook does")
    .option('--no-dry-run', 'apply and remove write, after confirmation; without it they show the plan alone')
    .option('--detach', 'leave the watch after the last step to resume')
    .option('--ticket <id>', 'the change request that this is done under: stands on the audit trail')
    .addOption(approvalOption())
    .addOption(format(true))
    .addHelpText(
      'after',
      `
GKE, EKS (IRSA and Pod Identity) and AKS. Asks no cloud: what only the cloud
knows stands in capitals. Keys are told by the names of variables, volumes and
Secrets; no Secret is read, changed or deleted. apply is a run like advance: it
opens the metadata path, annotates the account, and takes the key away once the
cloud's side is shown (--proof, for this cluster by --issuer or --eks-cluster)
or declared (waive gate=cloud-side), and the cluster shows that pods are given
a token (or: waive gate=cloud-token).
${examples(
  'sallyport cloud-identity -n ml',
  'sallyport cloud-identity --terraform > trust.tf',
  'sallyport cloud-identity --json',
  'sallyport cloud-identity apply -n ml --identity ml/Deployment/worker=arn:aws:iam::123456789012:role/worker',
  'sallyport cloud-identity apply -n ml --identity etl=etl@acme.iam.gserviceaccount.com --proof etl@acme.iam.gserviceaccount.com=trust.json',
  'sallyport cloud-identity remove -n ml --no-dry-run',
)}`,
    )
    .action((action: string | undefined, options: CloudIdentityOptions & CloudApplyOptions) =>
      set(async (app) =>
        action === 'apply' || action === 'remove'
          ? (await import('./commands/cloud-identity-apply.ts')).cloudIdentityRun(app, action, options)
          : (await import('./commands/cloud-identity.ts')).cloudIdentity(app, options),
      ),
    );
  program
    .command('waves')
    .description('the order in which the namespaces move, what decides it, and what comes next')
    .addOption(format(true))
    .addHelpText(
      'after',
      `
Nobody takes mTLS alone before those that call it are in the mesh: the
namespaces of a wave join it together, and then take it one by one.
${examples('sallyport waves', 'sallyport waves -o name')}`,
    )
    .action(() => set(async (app) => (await import('./commands/waves.ts')).waves(app)));
  program
    .command('check')
    .description(
      'judge a directory of policies that somebody proposes: what it would deny of the traffic on record, and what it would open',
    )
    .argument('<dir>', 'the proposal: policies in it take the place of those with their name')
    .option('--base <dir>', 'what the proposal started from: policies that it no longer holds are gone')
    .option('--fail-on <what>', 'denied, unknown, opened, joined by commas, or none (default: denied,unknown)')
    .addOption(
      new Option('-o, --output <format>', 'md: a comment for a pull request').choices(['text', 'md', 'json', 'yaml']),
    )
    .addHelpText(
      'after',
      `
Exit 6 where the proposal does what --fail-on names, or holds an object that no
API server takes: as a job of CI it stops the pull request.
${examples(
  'sallyport check ./policies',
  'sallyport check ./pull-request --base ./main -o md > comment.md',
  'sallyport check ./policies --fail-on denied,unknown,opened --json',
)}`,
    )
    .action((dir: string, options: CheckOptions) =>
      set(async (app) => (await import('./commands/check.ts')).check(app, dir, options)),
    );
  program
    .command('rehearse')
    .description('put the policies of the phase identity there as rehearsals, which refuse nothing and are counted')
    .argument('<ns>', 'namespace')
    .option('--no-dry-run', 'write, after confirmation; without it the plan alone is shown')
    .option('--ticket <id>', 'the change request that this is done under: stands on the audit trail')
    .addOption(approvalOption())
    .addOption(format(false))
    .addHelpText(
      'after',
      `
The proxies count what each policy would let through and what it would refuse.
With identity.rehearsal: required in the configuration, advance to identity
waits for those counts (identity.metrics).
${examples('sallyport rehearse shop', 'sallyport rehearse shop --no-dry-run')}`,
    )
    .action((ns: string, options: RehearseOptions) =>
      set(async (app) => (await import('./commands/rehearse.ts')).rehearse(app, ns, options)),
    );
  program
    .command('pattern')
    .description(
      'segmentation patterns of ML platforms: what each writes, whether it holds here, and its steps as a run',
    )
    .addArgument(
      new Argument('<action>', 'list, show, check, apply or remove').choices([
        'list',
        'show',
        'check',
        'apply',
        'remove',
      ]),
    )
    .argument('[pattern]', 'its name; check without one asks all')
    .option('-n, --namespace <ns>', 'under which its steps are filed and taken back')
    .addOption(
      new Option('--set <key=value>', 'a parameter; may be given again').argParser(
        (text: string, before: readonly string[] | undefined): readonly string[] => [...(before ?? []), text],
      ),
    )
    .option('--templates <dir>', 'patterns of your own, which take the place of ours by name')
    .option('--no-dry-run', 'apply and remove write, after confirmation; without it they show the plan alone')
    .option('--detach', 'leave the watch after the last step to resume')
    .option('--ticket <id>', 'the change request that this is done under: stands on the audit trail')
    .addOption(approvalOption())
    .addOption(format(true))
    .addHelpText(
      'after',
      `
check exits with 6 where a pattern does not hold or cannot be told; each pair
that breaks it is shown with the policy that lets it. apply is a run like
advance: simulated against the traffic on record, gated, journalled, and undone
exactly by remove or by a rollback of the namespace.
${examples(
  'sallyport pattern list',
  'sallyport pattern check',
  'sallyport pattern check control-and-data-plane --json',
  'sallyport pattern apply tenant-isolation -n team-a --set tenants=label:tenant --set dialect=calico',
  'sallyport pattern remove tenant-isolation -n team-a --no-dry-run',
)}`,
    )
    .action((action: string, name: string | undefined, options: PatternOptions) =>
      set(async (app) => (await import('./commands/pattern.ts')).pattern(app, action, name, options)),
    );
  program
    .command('tune')
    .description(
      'what the controls cost, measured, against a budget; what would make them cost less, and its steps as a run',
    )
    .argument('<ns...>', 'namespaces')
    .option('--prometheus <url>', 'a Prometheus that scrapes the proxies')
    .option('--metrics <file>', 'figures from a file (JSON) instead: docs/tuning.md')
    .option('--window <time>', 'of --prometheus: so long back (default: 24h)')
    .option('--save <file>', 'write the figures there, for --metrics')
    .addOption(
      repeated(
        '--budget <key=value>',
        "a control and milliseconds, cpu and cores for 1000 requests a second, memory and bytes of a proxy: mtls=3, cpu=0.5, memory=128Mi; over the configuration's",
      ),
    )
    .addOption(repeated('--apply <proposal>', 'show the plan of this proposal; may be given again'))
    .option('--no-dry-run', 'with --apply: write, after confirmation')
    .option('--detach', 'leave the watch after the last step to resume')
    .option('--token-file <file>', 'of --prometheus: a bearer token, or user:password')
    .option('--ca <file>', 'of --prometheus: certificates of authorities to trust')
    .option('--ticket <id>', 'the change request that this is done under: stands on the audit trail')
    .addOption(approvalOption())
    .addOption(format(true))
    .addHelpText(
      'after',
      `
Each proposal names its evidence, what it is expected to gain and by which
formula, its risk, and what stands against it. Those that are objects are steps
like any others: simulated, gated, journalled, and taken back by a rollback of
the namespace. What is applied is measured again by the next call.
${examples(
  'sallyport tune shop --prometheus http://prometheus.istio-system:9090',
  'sallyport tune shop --metrics figures.json --budget mtls=3 --budget memory=128Mi',
  'sallyport tune shop --metrics figures.json --apply http2:shop/web:8080 --no-dry-run',
  'sallyport tune shop ml --prometheus http://127.0.0.1:9090 --window 7d --json',
)}`,
    )
    .action((ns: readonly string[], options: TuneOptions) =>
      set(async (app) => (await import('./commands/tune.ts')).tune(app, ns, options)),
    );
  program
    .command('assess')
    .description('the assessment report: inventory, data flows, trust boundaries, risks and the way to zero trust')
    .option('-o, --output <file>', 'write the whole report there: .html (one file, no network), .md or .json')
    .option('--compare <file>', 'an earlier report (.json): say what changed since')
    .option('--fleet <file>', 'one summary over the clusters of an inventory (YAML), each with its own state')
    .option('--templates <dir>', 'templates of your own for the HTML report')
    .addHelpText(
      'after',
      examples(
        'sallyport assess',
        'sallyport assess -o report.html',
        'sallyport assess --manifests ./cluster --json | jq .waves',
        'sallyport assess -o now.md --compare before.json',
        'sallyport assess --fleet clusters.yaml -o fleet.html',
      ),
    )
    .action((options: AssessOptions & { fleet?: string }) =>
      set(async (app) =>
        options.fleet === undefined
          ? (await import('./commands/assess.ts')).assess(app, options)
          : (await import('./commands/fleet.ts')).assessFleet(app, options.fleet, options),
      ),
    );
  program
    .command('incident')
    .description(
      'answer an incident: quarantine, block, rotate, escalate, connections; list, show and undo answers; run what rules propose',
    )
    .addArgument(
      new Argument(
        '<action>',
        'quarantine, block, rotate, connections, escalate, list, show, undo; run, dismiss, confirm; stop, start',
      ).choices([
        'quarantine',
        'block',
        'rotate',
        'connections',
        'escalate',
        'list',
        'show',
        'undo',
        'run',
        'dismiss',
        'confirm',
        'stop',
        'start',
      ]),
    )
    .argument('[subject]', 'workload; address, namespace:NAME or account:NS/NAME; NS/ACCOUNT; id')
    .option('-n, --namespace <ns>', 'of block: the namespace that the source is kept out of')
    .option(
      '--with <kind>',
      'the kind of policy: cilium, calico, labels; of block: cilium, calico, admin, istio, exclude',
    )
    .option('--connections <what>', 'of quarantine, what is open: report, drain or delete (default: report)')
    .option(
      '--past-budgets',
      'of --connections delete: delete pods that a PodDisruptionBudget keeps from being evicted',
    )
    .option('--reason <text>', 'stands on the audit trail')
    .option('--cap <edges>', 'edges on record that may be cut at most (default: 50)')
    .option('--last-resort', 'of rotate: delete the account as well')
    .option('--irreversible', 'of rotate, with --yes: known that there is no way back')
    .option('--no-dry-run', 'write, after confirmation; without it the effect is shown alone')
    .addOption(
      new Option('-o, --output <format>', 'md: the timeline for the post-mortem').choices([
        'wide',
        'json',
        'yaml',
        'name',
        'md',
      ]),
    )
    .addHelpText(
      'after',
      `
Each is simulated against the traffic on record first: who loses what, whether
it holds, and whether it would reach others; then it is refused. What writes is
a run on record like any other: resume finishes it, incident undo takes it back.
A rotation cannot be taken back, and is asked for each time; nor can connections
that are ended (--connections drain: at the proxies, and the pods stay; delete:
with the pods). connections ID tells what is open, and ends it later.

Rules over what watch notices propose answers: run carries one out, dismiss lets
it go, confirm stands behind what ran by itself. stop is the kill switch:
nothing is begun by itself until start.
${examples(
  'sallyport incident quarantine shop/Deployment/web',
  'sallyport incident quarantine shop/Deployment/web --no-dry-run --reason "calls home"',
  'sallyport incident quarantine shop/Deployment/web --connections drain',
  'sallyport incident connections inc-1a2b3c4d',
  'sallyport incident block 203.0.113.9 -n shop',
  'sallyport incident rotate shop/web',
  'sallyport incident list',
  'sallyport incident show inc-1a2b3c4d -o md',
  'sallyport incident run inc-1a2b3c4d --no-dry-run',
  'sallyport incident stop --reason "false alarms"',
)}`,
    )
    .action((action: string, subject: string | undefined, options: IncidentOptions) =>
      set(async (app) => (await import('./commands/incident.ts')).incident(app, action, subject, options)),
    );
  program
    .command('chaos')
    .description(
      'take one enforced object away where a namespace opted in, see how fast it is noticed, and put it back',
    )
    .argument('<ns>', 'namespace, annotated with sallyport.dev/chaos=allowed by its owners')
    .option('--object <object>', 'which, as status and verify name it: "NetworkPolicy shop/sallyport-web-ingress"')
    .addOption(new Option('--how <how>', 'remove it, or let it allow everybody').choices(['remove', 'loosen']))
    .option('--within <time>', 'how long it may be away (default: 2m, at most 15m)')
    .option('--watch-url <url>', 'the watch that shall notice, by its /metrics; without it one of its own looks')
    .addOption(format(false))
    .addHelpText(
      'after',
      `
The effect is said first; --yes takes the object away. Only what opens may go,
never what would deny an edge on record. Killed half-way, sallyport resume puts
it back. Exit 6 where nobody noticed in time.
${examples('sallyport chaos staging', 'sallyport chaos staging --yes --within 1m', 'sallyport chaos staging --yes --watch-url http://127.0.0.1:9464 --json')}`,
    )
    .action((ns: string, options: ChaosOptions) =>
      set(async (app) => (await import('./commands/chaos.ts')).chaos(app, ns, options)),
    );
  program
    .command('completion')
    .description('a script that completes commands, flags, namespaces and workloads at Tab')
    .addArgument(new Argument('<shell>', 'bash, zsh or fish').choices(['bash', 'zsh', 'fish']))
    .addHelpText(
      'after',
      `
bash  echo 'source <(sallyport completion bash)' >> ~/.bashrc
zsh   sallyport completion zsh > "\${fpath[1]}/_sallyport"
fish  sallyport completion fish > ~/.config/fish/completions/sallyport.fish

kubectl completes "kubectl sallyport" by itself: kubectl_complete-sallyport is
installed beside it.
${examples('sallyport completion bash')}`,
    )
    .action((shell: Shell) =>
      set(async (app) => (await import('./completion-script.ts')).completionScript(app, shell)),
    );
  for (const command of program.commands)
    command
      .exitOverride()
      .configureHelp({ helpWidth: 80, minWidthToWrap: 20, showGlobalOptions: false })
      .addHelpText('after', GLOBAL_HINT);
  program.action(() => set(async (app) => (await import('./session/session.ts')).session(app)));
  // Flags may stand before or after the command.
  for (const command of program.commands)
    for (const option of program.options) if (option.long !== '--version') command.addOption(hidden(option));
  return { program, errors, action: () => action };
}

/**
 * Parses the command line. The commands are loaded when they run, so that help costs nothing. Exit 2 for a wrong call, with every
 * mistake at once. `--help` and `--version` print and come back without an action.
 */
export async function parseCommandLine(
  argv: readonly string[],
  version: string,
  write: (text: string) => void,
): Promise<Invocation> {
  if (argv[0] === COMPLETE) return completion(argv.slice(1), version);
  // Only this command speaks of the sources, and each brings its parser.
  const sources = argv.includes('observe') ? (await import('../sources/registry.ts')).FLOW_SOURCES : [];
  const { program, errors, action } = buildProgram(sources, version, write);
  checkCommandLine(program, argv);
  try {
    program.parse([...argv], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return { options: {}, action: undefined, command: '' };
    throw new Failure({
      code: 'SP200',
      exit: EXIT.usage,
      message:
        errors
          .join('')
          .replace(/^error: /, '')
          .trim()
          .replaceAll('\n', ' ') || error.message,
      where: `sallyport ${argv.join(' ')}`,
      hint: 'sallyport --help',
    });
  }
  const used = program.commands.find((command) => command.name() === program.args[0]);
  const options = { ...program.opts<GlobalOptions>(), ...given(used) };
  const output: unknown = used?.opts()['output'];
  if (options.json === true && [...FORMATS, 'junit', 'sarif', 'md'].some((one) => one !== 'json' && one === output))
    throw new Failure({
      code: 'SP250',
      exit: EXIT.usage,
      message: `--json and --output ${String(output)} ask for different things`,
      hint: 'leave out one of the two',
    });
  return { options, action: action(), command: used?.name() ?? 'session' };
}

/** The manual page of all commands, as roff. */
export async function manualPage(version: string): Promise<string> {
  const { FLOW_SOURCES } = await import('../sources/registry.ts');
  const { renderManual } = await import('./manual.ts');
  return renderManual(buildProgram(FLOW_SOURCES, version, () => undefined).program, EXIT_CODES, version);
}

/** What a shell asks at every Tab: the words so far, the last one unfinished. Wrong words are answered with what could stand there. */
async function completion(words: readonly string[], version: string): Promise<Invocation> {
  const { FLOW_SOURCES } = await import('../sources/registry.ts');
  const { program } = buildProgram(FLOW_SOURCES, version, () => undefined);
  return {
    options: typedOptions(program, words),
    // A shell waits for the answer: nothing is sent from there.
    action: async (app) => (await import('./complete.ts')).complete(app, program, FLOW_SOURCES, words),
    command: COMPLETE,
  };
}

function layoutOption(): Option {
  return new Option('--layout <how>', 'plain, kustomize, helm or helm:FILE:KEY (default: as the folder is)');
}

/** Of commands that may go through Git. */
function gitOptions(command: Command): Command {
  return command
    .option('--git <dir>', 'commit to this Git working tree instead of writing to the cluster')
    .addOption(layoutOption())
    .option('--pr <file>', 'where the text of the pull request goes (default: beside the state)')
    .option('--push', 'push each commit, as git is configured')
    .option('--wait <time>', 'wait so long until Flux or Argo CD has applied it')
    .addOption(
      new Option(
        '--deployer <object>',
        'Kind/namespace/name that applies it; may be given again (default: by its path)',
      ).argParser((one: string, before: readonly string[] | undefined): readonly string[] => [...(before ?? []), one]),
    );
}

/** An option that may be given several times. */
function repeated(flags: string, text: string): Option {
  return new Option(flags, text).argParser(
    (value: string, before: readonly string[] | undefined): readonly string[] => [...(before ?? []), value],
  );
}

/** May be given several times. */
function approvalOption(): Option {
  return new Option('--approval <file>', 'an approval that somebody else wrote; may be given again').argParser(
    (file: string, before: readonly string[] | undefined): readonly string[] => [...(before ?? []), file],
  );
}

function dialectOption(): Option {
  return new Option('--dialect <dialect>', 'the words of network policies: docs/dialects.md').choices(DIALECTS);
}

function podOption(flags: string, description: string): Option {
  return new Option(flags, description).argParser(
    (pod: string, before: readonly string[] | undefined): readonly string[] => [...(before ?? []), pod],
  );
}

function hidden(option: Option): Option {
  const copy = new Option(option.flags, option.description).hideHelp();
  return option.argChoices === undefined ? copy : copy.choices(option.argChoices);
}

/** Values that were typed, not defaults: a flag after the command wins over one before it. */
function given(command: Command | undefined): GlobalOptions {
  if (command === undefined) return {};
  const values = command.opts<Record<string, unknown>>();
  return Object.fromEntries(Object.entries(values).filter(([key]) => command.getOptionValueSource(key) === 'cli'));
}
