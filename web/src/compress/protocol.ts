// The calls of the compressor's worker (rpc/protocol.ts says what a table is).
import type { Source } from '../rpc/protocol.ts';
import type { CompressOptions, CompressPlan, CompressProgress, CompressResult, SizeChoice } from './types.ts';

export interface OpenRequest {
  source: Source;
  settings: Omit<CompressOptions, 'signal' | 'onProgress'>;
}

type Nothing = Record<string, never>;

export interface CompressCalls {
  open: { request: OpenRequest; reply: CompressPlan; event: CompressProgress };
  analyse: { request: Nothing; reply: SizeChoice[]; event: CompressProgress };
  make: { request: { bytes: number }; reply: CompressResult; event: CompressProgress };
  /** Deletes what is kept of this source. */
  discard: { request: Nothing; reply: Nothing; event: never };
  close: { request: Nothing; reply: Nothing; event: never };
}
