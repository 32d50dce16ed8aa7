import type { View } from '../engine/contract.ts';
import type { Gate } from '../model/finding.ts';
import { gate } from './view.ts';

/** What the operator's own rules say of the moment and of the ticket, where the configuration has any. */
export function changeGates(view: View, ticket: string | undefined): readonly Gate[] {
  const { changes } = view.config;
  if (changes === undefined) return [];
  const { namespace, now } = view;
  const frozen = changes.freeze.filter(({ from, to }) => from <= now && now < to);
  const gates: Gate[] = frozen.map(({ to, reason }) =>
    gate(
      'freeze',
      'no',
      namespace,
      [`no changes until ${new Date(to).toISOString()}: ${reason}`],
      `wait until then, or sallyport waive gate=freeze,subject=${namespace} --reason "..."; the way back is open`,
    ),
  );
  if (changes.ticket === 'required')
    gates.push(
      ticket === undefined || ticket.trim() === ''
        ? gate(
            'ticket',
            'no',
            namespace,
            ['the configuration asks for a ticket'],
            `sallyport advance ${namespace} --ticket ID`,
          )
        : gate('ticket', 'yes', namespace, [`ticket ${ticket.trim()}`], ''),
    );
  return gates;
}
