/** Maps that do not grow without bound: past it, the entry that was set longest ago goes. */

/** Sets an entry as the newest, and drops the oldest beyond the bound. */
export function setNewest<K, V>(map: Map<K, V>, key: K, value: V, maxCount: number): void {
  map.delete(key);
  map.set(key, value);
  for (const oldest of map.keys()) {
    if (map.size <= maxCount) return;
    map.delete(oldest);
  }
}
