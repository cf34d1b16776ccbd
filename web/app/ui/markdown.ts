// Streaming Markdown: text grows at its end, so only the blocks that changed are rendered again and the rest of the
// page stays untouched (selection, scroll position and copy buttons survive). Parsing is marked's; what it gives
// passes DOMPurify before it becomes nodes. HTML written by the model is shown as text, pictures become links: a
// page that promises that nothing leaves the device must not fetch what a model wrote.

import DOMPurify from 'dompurify';
import { Marked, type Token, type TokensList } from 'marked';
import { copyText, h, iconButton } from './dom.ts';

const escapeHtml = (text: string): string =>
  text.replace(/[&<>"']/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' })[c] ?? c);

const marked = new Marked({
  gfm: true,
  breaks: true,
  async: false,
  renderer: {
    html: ({ text }) => escapeHtml(text),
    image: ({ href, text }) => `<a href="${escapeHtml(href)}">${escapeHtml(text || href)}</a>`,
  },
});

const kPurify = {
  ALLOWED_TAGS: ['a', 'blockquote', 'br', 'code', 'del', 'em', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'hr', 'input', 'li', 'ol', 'p', 'pre', 'strong', 'table', 'tbody', 'td', 'th', 'thead', 'tr', 'ul'],
  ALLOWED_ATTR: ['href', 'align', 'start', 'class', 'type', 'checked', 'disabled'],
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  RETURN_DOM_FRAGMENT: true as const,
};

/** Adds what Markdown has no word for: copy buttons, safe links, tables that scroll on their own. */
function furnish(root: DocumentFragment): void {
  for (const link of root.querySelectorAll('a')) {
    link.target = '_blank';
    link.rel = 'noopener noreferrer nofollow';
  }
  for (const table of root.querySelectorAll('table')) {
    const box = h('div', { class: 'table', tabindex: '0' });
    table.replaceWith(box);
    box.append(table);
  }
  for (const pre of root.querySelectorAll('pre')) {
    const code = pre.querySelector('code');
    const language = /language-([\w+#.-]+)/.exec(code?.className ?? '')?.[1];
    const copy = iconButton('copy', 'Copy code', () => void copyText((code?.textContent ?? '').replace(/\n$/, ''), copy));
    const box = h('div', { class: 'code' }, copy);
    if (language) box.dataset.language = language;
    pre.tabIndex = 0;
    pre.replaceWith(box);
    box.prepend(pre);
  }
}

function render(token: Token, links: TokensList['links']): Node[] {
  const list = Object.assign([token], { links }) as TokensList;
  const fragment = DOMPurify.sanitize(marked.parser(list) as string, kPurify);
  furnish(fragment);
  return [...fragment.childNodes];
}

/** Shows a growing Markdown text inside `root`. */
export class MarkdownView {
  #blocks: { raw: string; nodes: Node[] }[] = [];

  constructor(readonly root: HTMLElement) {}

  /** Makes `root` show `text`. Cost: one lexer pass and the rendering of the blocks that changed. */
  update(text: string): void {
    const tokens = marked.lexer(text);
    let kept = 0;
    while (kept < tokens.length && this.#blocks[kept]?.raw === tokens[kept]?.raw) kept++;
    for (const block of this.#blocks.splice(kept)) for (const node of block.nodes) node.parentNode?.removeChild(node);
    for (const token of tokens.slice(kept)) {
      const nodes = token.type === 'space' || token.type === 'def' ? [] : render(token, tokens.links);
      this.root.append(...nodes);
      this.#blocks.push({ raw: token.raw, nodes });
    }
  }
}
