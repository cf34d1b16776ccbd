// Stories of measuring: the page /bench, and scripts/bench/browser as a user calls it. That they work, not that it is fast:
// the machine of a test is never quiet.

import { execFile } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { check, equal, kModel, until } from '../harness.mjs';

const kRoot = fileURLToPath(new URL('../../../', import.meta.url));
const kRowKeys = ['engine', 'version', 'model', 'simd', 'threads', 'work', 'unit', 'min', 'median', 'max', 'rounds'];

function checkRows(rows, works) {
  equal(rows.map(({ work }) => work).sort(), [...works].sort(), 'works');
  for (const row of rows) {
    equal(kRowKeys.filter((key) => !(key in row)), [], `keys missing in ${JSON.stringify(row)}`);
    equal([row.engine, row.unit], ['nutshell', 'tokens/s'], 'engine and unit');
    check(row.min > 0 && row.min <= row.median && row.median <= row.max, `out of order: ${JSON.stringify(row)}`);
  }
}

async function measuresDevice({ page, server, context }) {
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await page.goto(`${server.origin}/bench`);
  const hook = (name) => page.getByTestId(name);
  await until(() => hook('bench-go').isEnabled(), 'a model to choose');
  await hook('bench-threads').fill('1');
  await hook('bench-rounds').fill('1');
  await hook('bench-simd').selectOption('strict');
  await hook('bench-go').click();
  const state = () => hook('bench-status').getAttribute('data-state');
  await until(async () => ['done', 'error'].includes(await state()), 'a result', 120_000);
  equal(await state(), 'done', await hook('bench-status').innerText());
  equal(await hook('bench-table').locator('tbody tr').count(), 2, 'lines of the table');
  await hook('bench-copy').click();
  await until(async () => (await hook('bench-status').innerText()) === 'Copied.', 'the copy');
  const report = JSON.parse(await page.evaluate(() => navigator.clipboard.readText()));
  checkRows(report.rows, ['prefill:128', 'decode:0']);
  equal(report.rows.map(({ threads, simd }) => [threads, simd]), [[1, 'strict'], [1, 'strict']], 'what was asked');
  return report.rows.map(({ work, median }) => `${work} ${median} tokens/s`).join(', ');
}

async function commandReports() {
  const args = ['--model', kModel, '--dist', path.join(kRoot, 'web/dist'), '--engines', 'nutshell', '--rounds', '1', '--threads', '2',
    '--work', 'prefill:16,decode:0', '--steps', '8', '--allow-busy', '--json', '--out', path.join(kRoot, 'build/bench/smoke.json')];
  const { stdout } = await promisify(execFile)(path.join(kRoot, 'scripts/bench/browser'), args, { timeout: 120_000 });
  const report = JSON.parse(stdout);
  checkRows(report.rows, ['prefill:16', 'decode:0']);
  equal(report.rows.map(({ threads, simd, rounds }) => [threads, simd, rounds]), [[2, 'relaxed', 1], [2, 'relaxed', 1]], 'what was asked');
  equal(typeof report.busy, 'boolean', 'busy');
  for (const key of ['cpu', 'cores', 'browser', 'date', 'loadBefore', 'loadAfter']) check(report.machine[key], `machine.${key} is missing`);
}

export const stories = [
  { name: 'bench: the page measures this device and copies the result', work: measuresDevice },
  { name: 'bench: the command reports rows of the promised shape', work: commandReports },
];
