//! An index by hash: finds the number behind a name in a few cache misses, however many names there
//! are.
//!
//! Linear hashing (W. Litwin, 1980): the table grows and shrinks by one bucket at a time, so no
//! entry ever waits for a whole table to be moved. Only hashes and numbers lie here; the caller
//! compares the one or two names that remain. It is derived state and never iterated, so its order
//! decides nothing.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

/// Entries of a bucket, on average, at which the table grows. It shrinks at a quarter of that.
const BUCKET_LEN: usize = 8;

/// Finds numbers by the hash of a name.
#[derive(Debug, Default)]
pub(crate) struct Index {
    buckets: Vec<Vec<(u64, u64)>>,
    len: usize,
    seed: u64,
}

/// The same hash of a name on every replica.
pub(crate) fn hash(name: &str) -> u64 {
    keyed(0, name)
}

fn keyed(key: u64, name: &str) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(key, 0);
    hasher.write(name.as_bytes());
    hasher.finish()
}

/// The bucket that was split to make bucket `n`, or is to take it in again.
fn origin(n: usize) -> usize {
    n.checked_ilog2().map_or(0, |bits| n - (1 << bits))
}

impl Index {
    /// An empty index. The seed is to be this process's own: nobody who does not know it can choose
    /// names that meet in one bucket.
    pub fn seeded(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// The hash of a name in this index.
    pub fn hash(&self, name: &str) -> u64 {
        keyed(self.seed, name)
    }

    /// The first number under `hash` that `is` accepts.
    pub fn find(&self, hash: u64, is: impl Fn(u64) -> bool) -> Option<u64> {
        let bucket = self.buckets.get(self.bucket_of(hash))?;
        bucket.iter().filter(|(other, _)| *other == hash).map(|(_, id)| *id).find(|id| is(*id))
    }

    pub fn insert(&mut self, hash: u64, id: u64) {
        if self.len >= self.buckets.len() * BUCKET_LEN {
            self.grow();
        }
        let at = self.bucket_of(hash);
        if let Some(bucket) = self.buckets.get_mut(at) {
            bucket.push((hash, id));
            self.len += 1;
        }
    }

    pub fn remove(&mut self, hash: u64, id: u64) {
        let at = self.bucket_of(hash);
        let Some(bucket) = self.buckets.get_mut(at) else { return };
        let Some(found) = bucket.iter().position(|entry| *entry == (hash, id)) else { return };
        bucket.swap_remove(found);
        self.len -= 1;
        if self.buckets.len() > 1 && self.len < self.buckets.len() * BUCKET_LEN / 4 {
            self.shrink();
        }
    }

    fn bucket_of(&self, hash: u64) -> usize {
        let count = self.buckets.len();
        let mask = count.next_power_of_two() - 1;
        let at = usize::try_from(hash & mask as u64).unwrap_or(0);
        if at < count { at } else { origin(at) }
    }

    /// Makes one more bucket of the half of another.
    fn grow(&mut self) {
        let from = origin(self.buckets.len());
        self.buckets.push(Vec::new());
        for (hash, id) in self.buckets.get_mut(from).map(std::mem::take).unwrap_or_default() {
            let at = self.bucket_of(hash);
            if let Some(bucket) = self.buckets.get_mut(at) {
                bucket.push((hash, id));
            }
        }
    }

    /// Gives the last bucket back to the one that it was split from.
    fn shrink(&mut self) {
        let Some(mut last) = self.buckets.pop() else { return };
        let into = origin(self.buckets.len());
        if let Some(bucket) = self.buckets.get_mut(into) {
            bucket.append(&mut last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_found_while_it_grows_and_shrinks() {
        let mut index = Index::seeded(7);
        for round in 0..3 {
            for id in 0..2_000 {
                index.insert(hash(&format!("{id}")), id);
                // Another of the same hash.
                index.insert(hash(&format!("{id}")), id + 1_000_000);
                assert_eq!(
                    index.find(hash(&format!("{}", id / 2)), |found| found == id / 2),
                    Some(id / 2)
                );
            }
            for id in 0..2_000 - 500 * round {
                index.remove(hash(&format!("{id}")), id);
                index.remove(hash(&format!("{id}")), id + 1_000_000);
                assert_eq!(index.find(hash(&format!("{id}")), |_| true), None);
            }
            for id in 2_000 - 500 * round..2_000 {
                let of = hash(&format!("{id}"));
                assert_eq!(index.find(of, |found| found >= 1_000_000), Some(id + 1_000_000));
                index.remove(of, id);
                index.remove(of, id + 1_000_000);
            }
            assert_eq!((index.len, index.buckets.len()), (0, 1));
        }
    }
}
