// What /proc tells of a browser's processes: CPU time, time waited for a core, memory; and of the machine: everybody's CPU
// time. Linux only. Times are seconds.
import { readdirSync, readFileSync } from 'node:fs';

const kTicksPerSecond = 100; // USER_HZ, the same on every Linux that runs a browser

function read(path) {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return ''; // the process or thread has ended meanwhile
  }
}

const numbered = (folder) => {
  try {
    return readdirSync(folder).filter((name) => /^\d+$/.test(name));
  } catch {
    return [];
  }
};

/** Ids of the process `root` and of all that descend from it. */
export function tree(root) {
  const children = new Map();
  for (const pid of numbered('/proc')) {
    // The name in brackets may hold spaces: fields count from the last bracket.
    const parent = read(`/proc/${pid}/stat`).split(') ').pop().split(' ')[1];
    if (!children.has(parent)) children.set(parent, []);
    children.get(parent).push(pid);
  }
  const found = [String(root)];
  for (let i = 0; i < found.length; i++) found.push(...(children.get(found[i]) ?? []));
  return found;
}

/** The browser's first process: the oldest one that was started with this profile folder. */
export function browserProcess(profile) {
  const pids = numbered('/proc').filter((pid) => read(`/proc/${pid}/cmdline`).includes(profile));
  const roots = pids.filter((pid) => !pids.includes(read(`/proc/${pid}/stat`).split(') ').pop().split(' ')[1]));
  if (roots.length === 0) throw new Error(`no browser process with the profile ${profile}`);
  return Number(roots[0]);
}

/** CPU and waiting time so far of every thread under `root`: Map of thread to [run, wait]. */
export function threadTimes(root) {
  const times = new Map();
  for (const pid of tree(root)) {
    for (const tid of numbered(`/proc/${pid}/task`)) {
      const [run, wait] = read(`/proc/${pid}/task/${tid}/schedstat`).split(' ').map(Number);
      if (Number.isFinite(wait)) times.set(`${pid}/${tid}`, [run * 1e-9, wait * 1e-9]);
    }
  }
  return times;
}

/** Seconds run and waited between two answers of threadTimes. */
export function elapsed(before, after) {
  let [run, wait] = [0, 0];
  for (const [thread, [runNow, waitNow]] of after) {
    const [runThen, waitThen] = before.get(thread) ?? [0, 0];
    run += runNow - runThen;
    wait += waitNow - waitThen;
  }
  return { run, wait };
}

/** Seconds so far that all cores together were at work, and that the host of a virtual machine took away. */
export function machineTimes() {
  const [user, nice, system, , , irq, softirq, steal] = read('/proc/stat').split('\n')[0].split(/\s+/).slice(1).map(Number);
  return { work: (user + nice + system + irq + softirq) / kTicksPerSecond, steal: steal / kTicksPerSecond };
}

/** Bytes of anonymous and shared memory of the largest process under `root` that holds a page. */
export function pageBytes(root) {
  let most = 0;
  for (const pid of tree(root)) {
    if (!/--type=renderer|-contentproc/.test(read(`/proc/${pid}/cmdline`))) continue;
    const status = read(`/proc/${pid}/status`);
    const kilobytes = (name) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0);
    most = Math.max(most, (kilobytes('RssAnon') + kilobytes('RssShmem')) * 1024);
  }
  return most;
}

/** Watches pageBytes twice a second; stop() gives the highest value. */
export function watchMemory(root) {
  let peak = 0;
  const look = () => (peak = Math.max(peak, pageBytes(root)));
  const timer = setInterval(look, 500);
  return {
    stop() {
      clearInterval(timer);
      look();
      return peak;
    },
  };
}
