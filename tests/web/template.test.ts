// Chat templates against the strings of the Python reference, and what the wrapper itself refuses.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import golden from '../golden/chat_template/chat_template.json';
import { ChatTemplate } from '../../web/src/text/template.ts';
import type { ChatMessage, GenerateOptions } from '../../web/src/types.ts';
import { kChatMl } from './support/fake_core.ts';

const chats = new Map(golden.chats.map(({ name, messages }) => [name, messages as ChatMessage[]]));

type Options = Pick<GenerateOptions, 'thinking' | 'tools'>;
type Case = { template: string; chat: string; text?: string; error?: boolean; options?: Options };
const cases = golden.cases as Case[];

/** The template in the golden file, or the fetched one it names (scripts/vocab --env prints the folder). */
function sourceOf({ template, file }: { template?: string; file?: string }): string {
  if (template !== undefined) return template;
  const folder = process.env['NUTSHELL_VOCAB_TEMPLATES'];
  if (!folder) throw new Error('NUTSHELL_VOCAB_TEMPLATES is not set: run scripts/test, or set it as scripts/vocab --env prints it');
  return readFileSync(path.join(folder, file!), 'utf8');
}

beforeAll(() => {
  vi.useFakeTimers({ toFake: ['Date'] }); // some templates ask for today
  vi.setSystemTime(new Date(`${golden.now}T12:00:00`));
});
afterAll(() => void vi.useRealTimers());

describe.each(golden.templates)('$name', (entry) => {
  const { name, tokens } = entry;
  const texts = Object.fromEntries(Object.entries(tokens).filter((pair): pair is [string, string] => Boolean(pair[1])));

  test.each(cases.filter(({ template }) => template === name))('$chat $options', ({ chat, text, error, options }) => {
    const render = () => new ChatTemplate(sourceOf(entry), texts).render(chats.get(chat)!, options);
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

test('a template that puts the arguments of a call as they come gets JSON', () => {
  const template = "{% for m in messages %}{% if m.tool_calls %}{{ 'call ' + m.tool_calls[0].function.arguments + '!' }}{% endif %}{% endfor %}";
  const messages: ChatMessage[] = [{ role: 'assistant', content: null, tool_calls: [{ function: { name: 'f', arguments: '{"a":1}' } }] }];
  expect(new ChatTemplate(template, {}).render(messages)).toBe('call {"a":1}!');
});

test('arguments of a call may be an object or JSON text', () => {
  const template = golden.templates.find(({ name }) => name === 'qwen3')!.template!;
  const given = (args: string | Record<string, unknown>): string =>
    new ChatTemplate(template, {}).render([
      { role: 'user', content: 'x' },
      { role: 'assistant', content: null, tool_calls: [{ function: { name: 'f', arguments: args } }] },
    ]);
  expect(given({ a: 'b' })).toBe(given('{"a": "b"}'));
  expect(given({ a: 'b' })).toContain('{"name": "f", "arguments": {"a": "b"}}');
});

test.each<[string | null, unknown[], string]>([
  [null, [{ role: 'user', content: 'x' }], 'no_chat_template'],
  ['', [{ role: 'user', content: 'x' }], 'no_chat_template'],
  ['{% if %}', [{ role: 'user', content: 'x' }], 'bad_chat_template'],
  ['{{ nothing() }}', [{ role: 'user', content: 'x' }], 'bad_chat_template'],
  [kChatMl, [], 'invalid_argument'],
  [kChatMl, [{ role: 'user' }], 'invalid_argument'],
  [kChatMl, [{ role: 1, content: 'x' }], 'invalid_argument'],
  [kChatMl, [{ role: 'user', content: null }], 'invalid_argument'],
  [kChatMl, [{ role: 'tool', content: 'x', tool_call_id: 1 }], 'invalid_argument'],
  [kChatMl, [{ role: 'assistant', content: null, tool_calls: 'x' }], 'invalid_argument'],
  [kChatMl, [{ role: 'assistant', content: null, tool_calls: [null] }], 'invalid_argument'],
  [kChatMl, [{ role: 'assistant', content: null, tool_calls: [{ function: { name: 'f', arguments: '[1]' } }] }], 'invalid_argument'],
  [kChatMl, [{ role: 'assistant', content: null, tool_calls: [{ function: { name: 'f', arguments: '{' } }] }], 'invalid_argument'],
])('%j with %j is %s', (template, messages, code) => {
  const render = () => new ChatTemplate(template, {}).render(messages as ChatMessage[]);
  expect(render).toThrow(expect.objectContaining({ code }));
});
