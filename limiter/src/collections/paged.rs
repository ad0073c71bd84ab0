//! A map from ids that are counted up. Ids next to each other share a page, so that finding one
//! takes a walk through a small tree and one step, however large the values are, and making the
//! next one moves nothing.

use std::collections::BTreeMap;

/// Ids of one page.
const PAGE_LEN: usize = 64;

/// A map from ids that are counted up, in their order.
#[derive(Debug)]
pub(crate) struct Paged<T> {
    pages: BTreeMap<u64, Box<Page<T>>>,
    len: usize,
}

/// Values have a box each, so that a page with a single one left is small.
#[derive(Debug)]
struct Page<T> {
    slots: [Option<Box<T>>; PAGE_LEN],
    len: usize,
}

impl<T> Default for Paged<T> {
    fn default() -> Self {
        Self { pages: BTreeMap::new(), len: 0 }
    }
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self { slots: [const { None }; PAGE_LEN], len: 0 }
    }
}

fn place(id: u64) -> (u64, usize) {
    (id / PAGE_LEN as u64, usize::try_from(id % PAGE_LEN as u64).unwrap_or(0))
}

impl<T> Paged<T> {
    pub fn get(&self, id: u64) -> Option<&T> {
        let (page, slot) = place(id);
        self.pages.get(&page)?.slots.get(slot)?.as_deref()
    }

    pub fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        let (page, slot) = place(id);
        self.pages.get_mut(&page)?.slots.get_mut(slot)?.as_deref_mut()
    }

    /// Puts a value in; returns the one that it replaces.
    pub fn insert(&mut self, id: u64, value: T) -> Option<T> {
        let (page, slot) = place(id);
        let page = self.pages.entry(page).or_default();
        let before = page.slots.get_mut(slot)?.replace(Box::new(value));
        if before.is_none() {
            page.len += 1;
            self.len += 1;
        }
        before.map(|value| *value)
    }

    pub fn remove(&mut self, id: u64) -> Option<T> {
        let (number, slot) = place(id);
        let page = self.pages.get_mut(&number)?;
        let value = page.slots.get_mut(slot)?.take()?;
        page.len -= 1;
        self.len -= 1;
        if page.len == 0 {
            self.pages.remove(&number);
        }
        Some(*value)
    }

    /// The first id at or after this one that has a value.
    pub fn first_from(&self, from: u64) -> Option<u64> {
        let (page, slot) = place(from);
        let of_page = |(number, page): (&u64, &Page<T>), skip: usize| {
            let found = page.slots.iter().skip(skip).position(Option::is_some)?;
            Some(number * PAGE_LEN as u64 + (found + skip) as u64)
        };
        // A page that is there has a value; only of the first one those before `from` are passed
        // over.
        let mut pages = self.pages.range(page..).map(|(number, page)| (number, &**page));
        let first = pages.next()?;
        let skip = if *first.0 == page { slot } else { 0 };
        of_page(first, skip).or_else(|| of_page(pages.next()?, 0))
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// In the order of the ids.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.pages.iter().flat_map(|(number, page)| {
            (number * PAGE_LEN as u64..)
                .zip(&page.slots)
                .filter_map(|(id, value)| Some((id, value.as_deref()?)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_a_tree() {
        let (mut paged, mut tree) = (Paged::default(), BTreeMap::new());
        let mut random = 0x9e37_79b9_u64;
        for _ in 0..20_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let id = (random >> 33) % 1_000;
            if random >> 63 == 0 {
                assert_eq!(paged.insert(id, random), tree.insert(id, random));
            } else {
                assert_eq!(paged.remove(id), tree.remove(&id));
            }
            assert_eq!(paged.get(id), tree.get(&id));
            assert_eq!(paged.len(), tree.len());
            assert_eq!(paged.first_from(id), tree.range(id..).next().map(|(id, _)| *id));
        }

        assert!(paged.iter().map(|(id, value)| (id, *value)).eq(tree.into_iter()));
        let ids: Vec<_> = paged.iter().map(|(id, _)| id).collect();
        ids.into_iter().for_each(|id| assert!(paged.remove(id).is_some()));
        assert!(paged.pages.is_empty());
    }
}
