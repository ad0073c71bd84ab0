//! The activities of the resources of one group, bounded in number, and which of them the metrics show.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use ratequeue_limiter::ResourceName;

use super::activity::{Activity, Counts, RECENT_S};

/// Resources of a group of which activity is remembered. When there are more, the least busy half is forgotten.
pub(super) const RESOURCES_MAX: usize = 10_000;
/// How many times as busy a resource must be to take the place of one that is listed. So a counter does not vanish and come
/// back again and again while its resource is active.
const LISTED_FACTOR: u64 = 2;

/// The activities of a group.
#[derive(Debug, Default)]
pub(super) struct Activities {
    by_resource: BTreeMap<ResourceName, Activity>,
    /// Batches of events that came faster than they could be counted.
    pub(super) missed: u64,
    /// Some of it may be recent.
    pub(super) has_recent: bool,
    /// When what is old was last forgotten.
    forgot_s: u64,
}

/// Where a resource stands: the busiest comes first, and of equal ones the first by name.
type Rank = (Reverse<u64>, ResourceName);

fn busy(activity: &Activity, second: u64) -> u64 {
    let factor = if activity.listed { LISTED_FACTOR } else { 1 };
    activity.busy.at(second).saturating_mul(factor)
}

impl Activities {
    pub(super) fn get(&self, name: &ResourceName) -> Option<&Activity> {
        self.by_resource.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &ResourceName) -> Option<&mut Activity> {
        self.by_resource.get_mut(name)
    }

    pub(super) fn remove(&mut self, name: &ResourceName) {
        self.by_resource.remove(name);
    }

    /// Begins to remember a resource. When there are too many, half of them are forgotten, so it happens rarely.
    pub(super) fn add(&mut self, name: &ResourceName, second: u64) {
        if self.by_resource.contains_key(name) {
            return;
        }
        if let Some(cut) = self.cut(RESOURCES_MAX, RESOURCES_MAX / 2, second) {
            self.by_resource.retain(|name, activity| is_before(name, activity, second, &cut));
        }
        self.by_resource.insert(name.clone(), Activity::default());
    }

    /// The resources that the metrics show, at most `max`, with what was counted of them.
    pub(super) fn choose(&mut self, max: usize, second: u64) -> BTreeMap<ResourceName, Counts> {
        let cut = self.cut(max.saturating_add(1), max, second);
        let mut chosen = BTreeMap::new();

        for (name, activity) in &mut self.by_resource {
            activity.listed = cut.as_ref().is_none_or(|cut| is_before(name, activity, second, cut));
            if activity.listed {
                chosen.insert(name.clone(), activity.total);
            }
        }
        chosen
    }

    /// The first one beyond the `kept` first ones, once there are as many as `full`.
    fn cut(&self, full: usize, kept: usize, second: u64) -> Option<Rank> {
        if self.by_resource.len() < full {
            return None;
        }
        let ranks = self.by_resource.iter().map(|(name, activity)| (Reverse(busy(activity, second)), name));
        let mut ranks: Vec<(Reverse<u64>, &ResourceName)> = ranks.collect();
        if kept >= ranks.len() {
            return None;
        }
        let (_, (busy, name), _) = ranks.select_nth_unstable(kept);
        Some((*busy, (*name).clone()))
    }

    /// Drops what is no longer recent, unless that was done a short while ago.
    pub(super) fn forget_old(&mut self, second: u64) {
        if self.forgot_s + RECENT_S > second {
            return;
        }
        self.forgot_s = second;
        self.has_recent =
            self.by_resource.values_mut().fold(false, |recent, activity| activity.forget_old(second) | recent);
    }
}

fn is_before(name: &ResourceName, activity: &Activity, second: u64, cut: &Rank) -> bool {
    (Reverse(busy(activity, second)), name) < (cut.0, &cut.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ResourceName {
        ResourceName::new(text).unwrap()
    }

    fn happen(activities: &mut Activities, text: &str, times: usize, second: u64) {
        activities.add(&name(text), second);
        (0..times).for_each(|_| activities.get_mut(&name(text)).unwrap().busy.add(second));
    }

    fn chosen(activities: &mut Activities, max: usize, second: u64) -> Vec<String> {
        activities.choose(max, second).into_keys().map(|name| name.to_string()).collect()
    }

    #[test]
    fn the_busiest_are_chosen_and_then_the_first_by_name() {
        let mut activities = Activities::default();
        for (name, times) in [("a", 0), ("b", 0), ("c", 0), ("d", 1), ("e", 5)] {
            happen(&mut activities, name, times, 0);
        }
        assert_eq!(chosen(&mut activities, 3, 0), ["a", "d", "e"]);
        assert_eq!(chosen(&mut activities, 5, 0), ["a", "b", "c", "d", "e"]);
        assert_eq!(chosen(&mut activities, 0, 0), Vec::<String>::new());
    }

    #[test]
    fn one_that_is_listed_and_active_stays_until_another_is_far_busier() {
        let mut activities = Activities::default();
        happen(&mut activities, "m", 10, 0);
        assert_eq!(chosen(&mut activities, 1, 0), ["m"]);
        happen(&mut activities, "a", 19, 0);
        assert_eq!(chosen(&mut activities, 1, 0), ["m"]);
        happen(&mut activities, "a", 2, 0);
        assert_eq!(chosen(&mut activities, 1, 0), ["a"]);
        // That one goes quiet.
        happen(&mut activities, "m", 1, 3_600);
        assert_eq!(chosen(&mut activities, 1, 3_600), ["m"]);
    }

    #[test]
    fn when_there_are_too_many_the_busy_ones_are_kept() {
        let mut activities = Activities::default();
        happen(&mut activities, "zzz", 1, 0);
        for n in 0..RESOURCES_MAX {
            activities.add(&name(&format!("n{n:06}")), 0);
        }
        assert_eq!(activities.by_resource.len(), RESOURCES_MAX / 2 + 1);
        assert!(activities.get(&name("zzz")).is_some());
    }
}
