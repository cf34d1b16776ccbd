// The first look at the bytes of a would-be model, before anything is stored: is it a GGUF file at all? Everything behind
// the magic is the core's to judge.
import { EngineError } from '../errors.ts';

/** Bytes that suffice for a verdict, also on a web page (fewer are judged when the file is shorter). */
export const kSniffBytes = 64;
const kMagic = 'GGUF';

/**
 * Throws where the file cannot be a GGUF model: `empty_file`, `not_a_model` (a web page), `bad_magic`.
 * `head`: the first bytes, as many as there are; `contentType`: of the server, if any.
 */
export function sniff(head: Uint8Array, name: string, contentType = ''): void {
  if (head.length === 0) throw new EngineError('empty_file', `${name} is empty (0 bytes)`);
  const start = head.subarray(0, kMagic.length);
  if (String.fromCharCode(...start) === kMagic) return;
  // The files of a folder have no magic; the core judges them.
  const ofFolder = /\.(safetensors|json|jinja|txt|model)$/i.test(name.replace(/[?#].*$/, ''));
  const text = new TextDecoder().decode(head.subarray(0, 512)).trimStart();
  if (/^text\/html|xhtml/i.test(contentType) || /^<(!doctype|html|head|body|!--|\?xml)/i.test(text)) {
    throw new EngineError('not_a_model', `${name} is a web page, not a model file`);
  }
  if (ofFolder) return;
  const shown = Array.from(start, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
  throw new EngineError('bad_magic', `${name} is not a GGUF model: it starts with the bytes ${shown}, not with "GGUF"`);
}
