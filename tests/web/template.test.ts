// Chat templates against the strings of the Python reference, and what the wrapper itself refuses.
import golden from '../golden/chat_template/chat_template.json';
import { ChatTemplate } from '../../web/src/text/template.ts';
import type { ChatMessage } from '../../web/src/types.ts';
import { kChatMl } from './support/fake_core.ts';

const chats = new Map(golden.chats.map(({ name, messages }) => [name, messages as ChatMessage[]]));

describe.each(golden.templates)('$name', ({ name, template, tokens }) => {
  const texts = Object.fromEntries(Object.entries(tokens).filter((entry): entry is [string, string] => Boolean(entry[1])));

  test.each(golden.cases.filter((entry) => entry.template === name))('$chat', ({ chat, text, error }) => {
    const render = () => new ChatTemplate(template, texts).render(chats.get(chat)!);
    if (error) expect(render).toThrow(expect.objectContaining({ code: 'bad_chat_template' }));
    else expect(render()).toBe(text);
  });
});

test('the fake core carries the real template of SmolLM2', () => {
  expect(kChatMl).toBe(golden.templates.find(({ name }) => name === 'smollm2')!.template);
});

test('SmolLM2 gets its default system prompt, by the letter', () => {
  expect(new ChatTemplate(kChatMl, {}).render([{ role: 'user', content: 'Hi' }])).toBe(
    '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' +
      '<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n',
  );
});

test.each<[string | null, unknown[], string]>([
  [null, [{ role: 'user', content: 'x' }], 'no_chat_template'],
  ['', [{ role: 'user', content: 'x' }], 'no_chat_template'],
  ['{% if %}', [{ role: 'user', content: 'x' }], 'bad_chat_template'],
  ['{{ nothing() }}', [{ role: 'user', content: 'x' }], 'bad_chat_template'],
  [kChatMl, [], 'invalid_argument'],
  [kChatMl, [{ role: 'user' }], 'invalid_argument'],
  [kChatMl, [{ role: 1, content: 'x' }], 'invalid_argument'],
])('%j with %j is %s', (template, messages, code) => {
  const render = () => new ChatTemplate(template, {}).render(messages as ChatMessage[]);
  expect(render).toThrow(expect.objectContaining({ code }));
});
