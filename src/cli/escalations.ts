import type { Escalation } from '../model/config.ts';
import { maskText } from '../shared/pure/mask.ts';
import { safeText } from '../shared/pure/text.ts';
import { readText } from './config.ts';

/** What is told to people. Texts may come from the cluster. */
export interface Message {
  readonly key: string;
  readonly summary: string;
  readonly severity: 'info' | 'warning' | 'error';
  readonly at: number;
  readonly subject: string;
  readonly namespace?: string;
}

export interface Sent {
  readonly to: string;
  readonly outcome: 'sent' | 'failed';
  readonly attempts: number;
  readonly message?: string;
}

export interface Network {
  readonly fetch: typeof fetch;
  readonly sleep: (milliseconds: number) => Promise<void>;
}

const ATTEMPTS = 5;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;
const TIMEOUT_MS = 10_000;
const MOST_TEXT = 500;

/** Text as it may leave the cluster: one line, short, without what looks like a credential, and without marks that a chat reads. */
function plain(text: string): string {
  return safeText(maskText(text)).replaceAll('<', '(').replaceAll('>', ')').replaceAll('@', '(at)').slice(0, MOST_TEXT);
}

/**
 * The body for each receiver. Alertmanager: POST /api/v2/alerts, a list of alerts (github.com/prometheus/alertmanager, api/v2/openapi.yaml).
 * Slack: `{"text": ...}` (api.slack.com/messaging/webhooks). PagerDuty: an event of Events API v2 with a routing key and a dedup key
 * (developer.pagerduty.com, Send an alert event). The routing key is the only secret, and stands where PagerDuty wants it.
 */
export function escalationBody(kind: Escalation['kind'], message: Message, secret: string): unknown {
  const summary = plain(message.summary);
  const subject = plain(message.subject);
  const at = new Date(message.at).toISOString();
  switch (kind) {
    case 'alertmanager':
      return [
        {
          startsAt: at,
          labels: {
            alertname: 'SallyportIncident',
            severity: message.severity === 'error' ? 'critical' : message.severity,
            subject,
            ...(message.namespace === undefined ? {} : { namespace: plain(message.namespace) }),
          },
          annotations: { summary },
        },
      ];
    case 'slack':
      return { text: `Sallyport: ${summary} (${subject}, ${at})` };
    case 'pagerduty':
      return {
        routing_key: secret,
        event_action: 'trigger',
        dedup_key: plain(message.key).slice(0, 255),
        payload: {
          summary,
          source: 'sallyport',
          severity: message.severity,
          timestamp: at,
          component: subject,
        },
      };
  }
}

/** Sends to one receiver, again after a pause that doubles where it was busy or away. What it answers with 4xx is not tried again, but for 429. */
export async function sendEscalation(to: Escalation, message: Message, network: Network): Promise<Sent> {
  const secret = to.secretFile === undefined ? '' : (await readText(to.secretFile, 'file of a secret')).trim();
  // A webhook's address is a secret itself, so it is never shown.
  const shown = `${to.kind}${to.name === undefined ? '' : ` ${to.name}`}`;
  const address = to.kind === 'slack' && to.url === undefined ? secret : addressOf(to);
  let pause = FIRST_PAUSE_MS;
  let last = '';
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    try {
      const answer = await network.fetch(address, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          ...(to.kind === 'alertmanager' && secret !== '' ? { authorization: `Bearer ${secret}` } : {}),
        },
        body: JSON.stringify(escalationBody(to.kind, message, secret)),
        redirect: 'error',
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      await answer.body?.cancel();
      if (answer.ok) return { to: shown, outcome: 'sent', attempts: attempt };
      last = `it answered ${answer.status}`;
      if (answer.status < 500 && answer.status !== 429)
        return { to: shown, outcome: 'failed', attempts: attempt, message: last };
      const after = Number(answer.headers.get('retry-after'));
      if (Number.isFinite(after) && after > 0) pause = Math.max(pause, after * 1000);
    } catch (error) {
      // What a client says of a failed call may hold the address.
      last =
        error instanceof Error && error.name === 'TimeoutError'
          ? 'it did not answer in time'
          : 'it could not be reached';
    }
    if (attempt < ATTEMPTS) await network.sleep(Math.min(pause, LONGEST_PAUSE_MS));
    pause *= 2;
  }
  return { to: shown, outcome: 'failed', attempts: ATTEMPTS, message: last };
}

function addressOf({ kind, url }: Escalation): string {
  if (kind === 'pagerduty') return url ?? 'https://events.pagerduty.com/v2/enqueue';
  if (kind === 'alertmanager') return `${(url ?? '').replace(/\/+$/u, '')}/api/v2/alerts`;
  return url ?? '';
}
