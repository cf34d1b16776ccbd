// What the report says about the machine and about the things measured.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import os from 'node:os';
import { fileURLToPath } from 'node:url';
import { machineTimes } from './processes.mjs';

const kRoot = fileURLToPath(new URL('../../../', import.meta.url));
const kPackages = { wllama2: 'wllama2', wllama3: 'wllama3', transformersjs: '@huggingface/transformers' };

function packageVersion(folder) {
  return JSON.parse(readFileSync(new URL(`${folder}/package.json`, import.meta.url), 'utf8')).version;
}

function git(...args) {
  try {
    return execFileSync('git', args, { cwd: kRoot, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return '';
  }
}

/** Version of an engine that runs in the browser; nutshell's also names the commit. */
export function engineVersion(engine) {
  if (engine in kPackages) return packageVersion(`../node_modules/${kPackages[engine]}`);
  const commit = git('rev-parse', '--short', 'HEAD');
  const changed = git('status', '--porcelain', '--untracked-files=no') ? '+changes' : '';
  return `${packageVersion('../../../web')}${commit && ` (${commit}${changed})`}`;
}

export function describeMachine() {
  const release = /^PRETTY_NAME="?([^"\n]*)/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? os.type();
  const flags = /^flags\s*:\s*(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1].split(' ') ?? [];
  return {
    cpu: os.cpus()[0]?.model ?? os.arch(),
    cores: os.availableParallelism(),
    vectors: ['avx2', 'avx_vnni', 'avx512f', 'avx512_vnni'].filter((flag) => flags.includes(flag)),
    memoryBytes: os.totalmem(),
    os: release,
    kernel: os.release(),
    node: process.version,
    date: new Date().toISOString(),
  };
}

/** Cores that others use and the host takes, over `ms`, while this process only waits. */
export async function idleCheck(ms = 2000) {
  const before = machineTimes();
  await new Promise((resolve) => setTimeout(resolve, ms));
  const after = machineTimes();
  return { other: ((after.work - before.work) * 1000) / ms, steal: ((after.steal - before.steal) * 1000) / ms };
}

export const loadAverage = () => os.loadavg().map((value) => Math.round(value * 100) / 100);
