import fc from '../support/fast-check.ts';
import { describe, expect, it } from 'vitest';
import { escapeHtml, html, htmlText, jsonIsland, ownMarkup, visibleText } from '../../src/report/html/html.ts';

describe('the html tag', () => {
  it('escapes text and quoted attributes, and joins lists of markup', () => {
    const hostile = `<b a="1" b='2'>&\``;
    expect(htmlText(html`<p title="${hostile}">${hostile}${[html`<i>${1}</i>`, 'x<']}${undefined}</p>`)).toBe(
      '<p title="&lt;b a=&quot;1&quot; b=&#39;2&#39;&gt;&amp;&#96;">&lt;b a=&quot;1&quot; b=&#39;2&#39;&gt;&amp;&#96;<i>1</i>x&lt;</p>',
    );
  });

  it('takes an object that looks like markup for no markup', () => {
    const forged = JSON.parse('{"text":"<script>"}') as never;
    expect(() => html`<p>${forged}</p>`).toThrow();
  });

  it.each([
    ['an attribute without quotes', () => html`<p class=${'x'}></p>`],
    ['a tag’s name', () => html`<${'p'}></p>`],
    ['an attribute’s name', () => html`<p ${'class'}="x"></p>`],
    ['a handler', () => html`<p onclick="${'x'}"></p>`],
    ['a style', () => html`<p style="color:${'x'}"></p>`],
    ['the begin of an address', () => html`<a href="${'javascript:alert(1)'}"></a>`],
    [
      'a script',
      () =>
        html`<script>
          ${'x'};
        </script>`,
    ],
    [
      'a style sheet',
      () =>
        html`<style>
          p {
            color: ${'x'};
          }
        </style>`,
    ],
  ])('refuses a value in %s', (_, draw) => {
    expect(draw).toThrow(/a value (?:stands|begins)/);
  });

  it('lets no text end an attribute or an element, or begin a tag or an entity', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const escaped = escapeHtml(text);
        expect(escaped).not.toMatch(/[<>"'`]/);
        expect(escaped.replace(/&(?:amp|lt|gt|quot|#39|#96);/g, '')).not.toContain('&');
      }),
    );
  });

  it('writes out what cannot be seen, and loses nothing that can', () => {
    expect(visibleText('a\u202eb\u0000\u001b[0m\u2028\ud800c')).toBe('a⟦U+202E⟧b⟦U+0000⟧⟦U+001B⟧[0m⟦U+2028⟧⟦U+D800⟧c');
    expect(visibleText('Ünïcødé 模型 😀\tand\nlines')).toBe('Ünïcødé 模型 😀\tand\nlines');
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(visibleText(text)).not.toMatch(
          /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069]/,
        );
        expect(visibleText(visibleText(text))).toBe(visibleText(text));
      }),
    );
  });
});

describe('data for the script', () => {
  it('is read back as it was, whatever stands in it', () => {
    fc.assert(
      fc.property(fc.jsonValue({ stringUnit: 'binary' }), (value) => {
        const text = htmlText(jsonIsland('data-x', value));
        const inside = text.slice('<script type="application/json" id="data-x">'.length, -'</script>'.length);
        expect(inside).not.toMatch(/[<>&\u2028\u2029]/);
        expect(JSON.parse(inside)).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });

  it('cannot end its element or open a comment', () => {
    const text = htmlText(jsonIsland('data-x', ['</script><script>alert(1)</script>', '<!--', ']]>']));
    expect(text.match(/<\/script>/g)).toHaveLength(1);
    expect(text).not.toContain('<!--');
  });

  it('has an id that is a word', () => {
    expect(() => jsonIsland('a"b', 1)).toThrow('a word');
  });
});

it('markup of our own passes as it is', () => {
  expect(htmlText(html`<div>${ownMarkup('<b>ours</b>')}</div>`)).toBe('<div><b>ours</b></div>');
});
