// Reasoning and answer are parted alike however the stream is cut.
import { makeSplitter, thinkingOf, type Split } from '../../web/src/text/thinking.ts';

const kQwen = "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>{% endif %}";
const none = () => null;

function run(template: string, prompt: string, pieces: string[]): Split {
  const splitter = makeSplitter(template, prompt, none);
  const out = { reasoning: '', text: '' };
  for (const part of [...pieces.map((piece) => splitter.push(piece, 7)), splitter.flush()]) {
    out.reasoning += part.reasoning;
    out.text += part.text;
  }
  return out;
}

const kTags: [name: string, prompt: string, answer: string, reasoning: string, text: string][] = [
  ['opened by the model', 'assistant\n', '<think>\nAdd 2 and 2.\n</think>\n\nIt is 4.', 'Add 2 and 2.', 'It is 4.'],
  ['opened by the prompt', 'assistant\n<think>\n', 'Hm < 5 </thin\nk\n</think>\n\n4 </think>', 'Hm < 5 </thin\nk', '4 </think>'],
  ['no thoughts', 'assistant\n', 'Plain <think> text </think>.', '', 'Plain <think> text </think>.'],
  ['empty thoughts', 'assistant\n', '<think>\n\n</think>\n\n4', '', '4'],
  ['cut off while thinking', 'assistant\n', '<think>\nonly this </th', 'only this </th', ''],
  ['almost a mark', 'assistant\n', '<thin air', '', '<thin air'],
  ['nothing but a beginning', 'assistant\n', ' <thi', '', ' <thi'],
  ['white space first', 'assistant\n', '\n\n <think>a b  c</think>x', 'a b  c', 'x'],
  ['empty', 'assistant\n', '', '', ''],
];

describe.each(kTags)('tags: %s', (_name, prompt, answer, reasoning, text) => {
  test('in one piece and character by character', () => {
    expect(run(kQwen, prompt, [answer])).toEqual({ reasoning, text });
    expect(run(kQwen, prompt, [...answer])).toEqual({ reasoning, text });
  });

  test('cut at every two places', () => {
    for (let a = 0; a <= answer.length; a++) {
      for (let b = a; b <= answer.length; b++) {
        expect(run(kQwen, prompt, [answer.slice(0, a), answer.slice(a, b), answer.slice(b)])).toEqual({ reasoning, text });
      }
    }
  });
});

test('a model without marks in its template is left alone', () => {
  expect(run('{{ messages }}', '', ['<think>a', '</think>b'])).toEqual({ reasoning: '', text: '<think>a</think>b' });
});

describe('channels', () => {
  const kHarmony = "{{ '<|start|>assistant<|channel|>final<|message|>' }}";
  const ids: Record<string, number> = { '<|channel|>': 1, '<|message|>': 2, '<|end|>': 3, '<|start|>': 4 };
  const play = (tokens: (string | number)[], prompt = '<|start|>assistant'): Split => {
    const splitter = makeSplitter(kHarmony, prompt, (token) => ids[token] ?? null);
    const out = { reasoning: '', text: '' };
    for (const token of tokens) {
      const part = typeof token === 'number' ? splitter.push('', token) : splitter.push(token, 99);
      out.reasoning += part.reasoning;
      out.text += part.text;
    }
    return out;
  };

  test('analysis, then the final answer', () => {
    const tokens = [1, 'anal', 'ysis', 2, 'Think', ' hard', 3, 4, 'assistant', 1, 'final', 2, 'It is', ' 4.'];
    expect(play(tokens)).toEqual({ reasoning: 'Think hard', text: 'It is 4.' });
  });

  test('calls of tools are no answer, a preamble is one', () => {
    expect(play([1, 'commentary', ' to=functions.f ', 2, '{}'])).toEqual({ reasoning: '{}', text: '' });
    expect(play([1, 'commentary', 2, 'I will look.', 3, 4, 'assistant', 1, 'final', 2, 'Done'])).toEqual({ reasoning: '', text: 'I will look.Done' });
  });

  test('a prompt that opened the channel', () => {
    expect(play(['Yes'], '<|start|>assistant<|channel|>final<|message|>')).toEqual({ reasoning: '', text: 'Yes' });
    expect(play(['Hm', 3, 4, 'assistant', 1, 'final', 2, 'Yes'], '<|start|>assistant<|channel|>analysis<|message|>')).toEqual({ reasoning: 'Hm', text: 'Yes' });
  });

  test('text held back until a mark belongs before it', () => {
    const splitter = makeSplitter(kHarmony, '', (token) => ids[token] ?? null);
    splitter.push('', 1);
    splitter.push('analysis', 9);
    splitter.push('', 2);
    expect(splitter.push('late', 3)).toEqual({ reasoning: 'late', text: '' });
  });
});

test.each<[string | null, string]>([
  [null, 'none'],
  ['{{ messages }}', 'none'],
  [kQwen, 'optional'],
  ['{%- if not thinking is defined %}{% set thinking = false %}{% endif %}', 'optional'],
  ["{% set content = content.split('</think>')[-1] %}", 'always'],
  ['<|channel|>', 'always'],
])('%j thinks: %s', (template, expected) => expect(thinkingOf(template)).toBe(expected));
