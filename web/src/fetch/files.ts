// All files of one model as one source: a single file, the parts of a split GGUF, or a Hugging Face folder. Each file is
// stored once under its own address; the record of the first one lists them all, so that its address loads the model again.
import { EngineError, toEngineError } from '../errors.ts';
import type { LoadRequest, Source } from '../rpc/protocol.ts';
import type { Membership } from '../store/store.ts';
import type { Meter } from './meter.ts';
import { fileName, openSource, type ModelSource, type Outcome, type SourceDeps } from './source.ts';

const kPart = /^(.+)-00001-of-(\d{5})\.gguf$/;
const kMaxParts = 4096;

export class ModelFiles {
  private constructor(
    /** What to call the model where neither the caller nor the file does. */
    readonly name: string,
    private readonly sources: ModelSource[],
    private readonly members: Membership[],
  ) {}

  /** Opens all files, one after the other (the downloads then run together). Errors: those of openSource. */
  static async open(request: LoadRequest, { signal, meter }: { signal: AbortSignal; meter: Meter }, deps: SourceDeps): Promise<ModelFiles> {
    const wanted = await expand(request.sources, deps);
    const one = wanted.length === 1;
    const name = request.name ?? modelName(wanted);
    const progress = new Progress(meter, wanted.length);
    const opened: ModelSource[] = [];
    try {
      for (const [index, source] of wanted.entries()) {
        const label = one ? name : fileName(source);
        const place = one ? fileName(source) : `${name}/${label}`;
        const ask = { source, name: label, place, keep: request.keep === true, store: request.store, sha256: one ? request.sha256 : undefined };
        opened.push(await openSource(ask, { signal, meter: progress.of(index) }, deps));
      }
    } catch (error) {
      const failure = toEngineError(error);
      for (const source of opened) await source.reject(failure);
      throw failure;
    }
    const urls = opened.map((source) => source.url);
    const members = urls.map((_, index): Membership => (one ? {} : index === 0 ? { parts: urls } : { partOf: urls[0] }));
    return new ModelFiles(name, opened, members);
  }

  get downloading(): boolean {
    return this.sources.some((source) => source.downloading);
  }

  /** Names and sizes in the order the core is told; waits for the end of a download whose length is not told. */
  async list(): Promise<{ name: string; bytes: number }[]> {
    const list: { name: string; bytes: number }[] = [];
    for (const source of this.sources) list.push({ name: source.name, bytes: await source.size() });
    return list;
  }

  read(file: number, offset: number, target: Uint8Array): Promise<void> | void {
    return this.sources[file]!.read(offset, target);
  }

  /** The engine took the model: every file becomes complete. */
  async accept(): Promise<Outcome> {
    const outcomes: Outcome[] = [];
    for (const [index, source] of this.sources.entries()) outcomes.push(await source.accept(this.members[index]!));
    const stored = outcomes.every((outcome) => outcome.stored);
    const problem = outcomes.find((outcome) => outcome.problem)?.problem ?? null;
    return { url: stored ? outcomes[0]!.url : null, stored, problem };
  }

  async reject(error: EngineError): Promise<void> {
    for (const source of this.sources) await source.reject(error);
  }
}

/** One address may stand for several files: it was stored with them, or it names the first part of a split model. */
async function expand(sources: Source[], deps: SourceDeps): Promise<Source[]> {
  if (sources.length === 0) throw new EngineError('invalid_argument', 'a model needs at least one file');
  const [only] = sources;
  if (sources.length > 1 || !only || !('url' in only)) return sources;
  const store = await deps.openStore().catch(() => null);
  const parts = (await store?.find(only.url))?.parts;
  if (parts?.length) return parts.map((url) => ({ url }));
  const match = kPart.exec(fileName(only));
  const count = match ? Number(match[2]) : 1;
  if (!match || count > kMaxParts) return sources;
  const number = (part: number) => String(part).padStart(5, '0');
  return Array.from({ length: count }, (_, index) => ({ url: only.url.replace('-00001-of-', `-${number(index + 1)}-of-`) }));
}

function modelName(sources: Source[]): string {
  const first = sources[0]!;
  const file = fileName(first);
  if (sources.length === 1) return file;
  const stem = kPart.exec(file)?.[1];
  if (stem) return stem;
  const folder = 'url' in first ? first.url.replace(/[?#].*$/, '').split('/').at(-2) : undefined;
  return folder || file;
}

/** What each file tells of its progress, added up. */
class Progress {
  private readonly loaded: number[];
  private readonly totals: (number | null)[];

  constructor(private readonly meter: Meter, private readonly count: number) {
    this.loaded = Array<number>(count).fill(0);
    this.totals = Array<number | null>(count).fill(null);
  }

  of(file: number): Pick<Meter, 'update'> {
    if (this.count === 1) return this.meter;
    return {
      update: (phase, loadedBytes, totalBytes) => {
        this.loaded[file] = loadedBytes;
        this.totals[file] = totalBytes;
        const known = this.totals.every((total) => total !== null);
        const total = known ? this.totals.reduce((sum: number, each) => sum + (each ?? 0), 0) : null;
        this.meter.update(phase, this.loaded.reduce((sum, each) => sum + each, 0), total);
      },
    };
  }
}
