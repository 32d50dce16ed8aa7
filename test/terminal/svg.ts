// A screen with its SGR sequences as a picture: text stays text, and the colours are those of a terminal's theme.

export type Theme = 'light' | 'dark';

interface Look {
  readonly bold: boolean;
  readonly dim: boolean;
  readonly reverse: boolean;
  readonly colour: string | undefined;
}

interface Run {
  readonly text: string;
  readonly look: Look;
}

const PLAIN: Look = { bold: false, dim: false, reverse: false, colour: undefined };
/** The colours that the session uses, by their SGR numbers, as common themes show them. */
const PALETTES: Readonly<Record<Theme, Readonly<Record<string, string>>>> = {
  light: { paper: '#ffffff', ink: '#1f2328', dim: '#6a7178', 31: '#b3261e', 32: '#116329', 35: '#8250a5' },
  dark: { paper: '#16191d', ink: '#e6e8ea', dim: '#9aa3ab', 31: '#ff8a80', 32: '#7ee787', 35: '#d8a6f5' },
};

/** A number that the session never writes is an error: a picture must not lose what a terminal shows. */
function afterCode(look: Look, code: number): Look {
  switch (code) {
    case 0:
      return PLAIN;
    case 1:
      return { ...look, bold: true };
    case 2:
      return { ...look, dim: true };
    case 7:
      return { ...look, reverse: true };
    case 22:
      return { ...look, bold: false, dim: false };
    case 27:
      return { ...look, reverse: false };
    case 31:
    case 32:
    case 35:
      return { ...look, colour: String(code) };
    case 49:
      return look;
    case 39:
      return { ...look, colour: undefined };
    default:
      throw new Error(`SGR ${code} is none of the session's`);
  }
}

/** A screen as tmux captures it: lines, each in stretches of one look. */
export function parseScreen(coloured: string): readonly (readonly Run[])[] {
  let look = PLAIN;
  return coloured
    .replaceAll(/[\u000e\u000f]/g, '')
    .replace(/\n$/, '')
    .split('\n')
    .map((line) => {
      const runs: Run[] = [];
      for (const piece of line.split(/(\u001b\[[0-9;]*m)/)) {
        const codes = /^\u001b\[([0-9;]*)m$/.exec(piece)?.[1];
        if (codes === undefined) {
          if (piece !== '') runs.push({ text: piece, look });
        } else for (const code of codes.split(';')) look = afterCode(look, Number(code));
      }
      return runs;
    });
}

const CELL = { width: 8.4, height: 18 };
const EDGE = 12;

const escape = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
const round = (value: number): string => String(Math.round(value * 10) / 10);

/** The picture of a screen of so many columns; `title` is what is read aloud. */
export function screenToSvg(coloured: string, columns: number, theme: Theme, title: string): string {
  const palette = PALETTES[theme];
  const { paper = '', ink = '', dim = '' } = palette;
  const lines = parseScreen(coloured);
  while (lines.at(-1)?.every(({ text }) => text.trim() === '') === true) (lines as Run[][]).pop();
  const [width, height] = [columns * CELL.width + 2 * EDGE, lines.length * CELL.height + 2 * EDGE];
  const out = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${round(width)} ${round(height)}" width="${round(width)}" height="${round(height)}" role="img" font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="14" xml:space="preserve">`,
    `<title>${escape(title)}</title>`,
    `<rect width="100%" height="100%" rx="6" fill="${paper}"/>`,
  ];
  for (const [row, runs] of lines.entries()) {
    let column = 0;
    const top = EDGE + row * CELL.height;
    for (const { text, look } of runs) {
      const [x, size] = [EDGE + column * CELL.width, text.length * CELL.width];
      column += text.length;
      const own = look.colour === undefined ? (look.dim ? dim : ink) : (palette[look.colour] ?? ink);
      if (look.reverse)
        out.push(
          `<rect x="${round(x)}" y="${round(top)}" width="${round(size)}" height="${CELL.height}" fill="${own}"/>`,
        );
      if (text.trim() === '') continue;
      const weight = look.bold ? ' font-weight="bold"' : '';
      out.push(
        `<text x="${round(x)}" y="${round(top + 13.5)}" textLength="${round(size)}" fill="${look.reverse ? paper : own}"${weight}>${escape(text)}</text>`,
      );
    }
  }
  return `${out.join('\n')}\n</svg>\n`;
}
