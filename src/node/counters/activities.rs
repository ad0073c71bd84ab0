//! The activities of the resources of one group, bounded in number, and which of them the metrics
//! show.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use ratequeue_limiter::{ResourceName, ResourceUsage};

use super::activity::{Activity, Counts, RECENT_S};
use super::series::Series;

/// Resources of a group of which activity is remembered. When there are more, the least busy half
/// is forgotten.
pub(super) const RESOURCES_MAX: usize = 10_000;
/// Resources of a group that the metrics list; the others are summed up in one row.
pub(super) const LISTED_MAX: usize = 1_000;
/// Resources of a group of which there are series.
pub(super) const SERIES_MAX: usize = 1_000;
/// How many times as busy a resource must be to take the place of one that is listed. So a counter
/// does not vanish and come back again and again while its resource is active.
const LISTED_FACTOR: u64 = 2;

/// The activities of a group.
#[derive(Debug, Default)]
pub(super) struct Activities {
    by_resource: BTreeMap<ResourceName, Activity>,
    /// What happened to resources while they were not listed. It never falls, whoever enters or
    /// leaves the list.
    pub(super) unlisted: Counts,
    /// How often events were not there any more when they were to be counted.
    pub(super) gaps: u64,
    /// Leaders that began since the node started.
    pub(super) leader_changes: u64,
    /// The series of the busiest resources, at most [`SERIES_MAX`].
    pub(super) series: BTreeMap<ResourceName, Series>,
    /// What happened to all resources.
    total: Activity,
    pub(super) total_series: Series,
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

    pub(super) fn remove(&mut self, name: &ResourceName) {
        self.by_resource.remove(name);
        self.series.remove(name);
    }

    /// Counts what happens to a resource that is remembered; in the counters too, if `is_counted`.
    pub(super) fn count(
        &mut self,
        name: &ResourceName,
        second: u64,
        is_counted: bool,
        count: impl Fn(&mut Counts),
    ) {
        let Some(activity) = self.by_resource.get_mut(name) else { return };
        activity.count(second, &count);
        self.total.count(second, &count);
        if is_counted {
            count(if activity.listed { &mut activity.shown } else { &mut self.unlisted });
        }
    }

    /// Counts how long a grant of a resource that is remembered waited.
    pub(super) fn waited(&mut self, name: &ResourceName, second: u64, ms: u64) {
        if let Some(activity) = self.by_resource.get_mut(name) {
            activity.waited(second, ms);
            self.total.waited(second, ms);
        }
    }

    /// Makes a resource that is remembered busier.
    pub(super) fn busy(&mut self, name: &ResourceName, second: u64) {
        if let Some(activity) = self.by_resource.get_mut(name) {
            activity.busy.add(second);
        }
    }

    /// Begins to remember a resource, which is listed if there is room. When there are too many,
    /// half of them are forgotten, so it happens rarely.
    pub(super) fn add(&mut self, name: &ResourceName, second: u64) {
        if self.by_resource.contains_key(name) {
            return;
        }
        if let Some(cut) = self.cut(RESOURCES_MAX, RESOURCES_MAX / 2, second) {
            self.by_resource.retain(|name, activity| is_before(name, activity, second, &cut));
        }
        let listed = self.by_resource.len() < LISTED_MAX;
        self.by_resource.insert(name.clone(), Activity::new(listed));
        if self.series.len() < SERIES_MAX {
            self.series.insert(name.clone(), Series::default());
        }
    }

    /// Gives the series of those that are no longer among the busiest to those that are.
    pub(super) fn follow_busiest(&mut self, second: u64) {
        let Some(cut) = self.cut(SERIES_MAX + 1, SERIES_MAX, second) else { return };
        for (name, activity) in &self.by_resource {
            if is_before(name, activity, second, &cut) {
                self.series.entry(name.clone()).or_default();
            } else {
                self.series.remove(name);
            }
        }
        let by_resource = &self.by_resource;
        self.series.retain(|name, _| by_resource.contains_key(name));
    }

    /// Adds the bucket of a second that is over to the series of a resource, which stands so.
    pub(super) fn sample(&mut self, name: &ResourceName, second: u64, usage: &ResourceUsage) {
        let Some(series) = self.series.get_mut(name) else { return };
        let activity = self.by_resource.get(name);
        series.add(second, usage, activity.and_then(|activity| activity.of_second(second)));
    }

    /// Adds the bucket of a second that is over to the series of all resources together.
    pub(super) fn sample_total(&mut self, second: u64) {
        let newest = self.series.values().filter_map(|series| series.fine.buckets.back());
        let (queue_depth, held) = newest.fold((0, 0), |(depth, held), bucket| {
            (depth + u64::from(bucket.queue_depth), held + u64::from(bucket.held))
        });
        let limits = Vec::new();
        let usage = ResourceUsage { queue_depth, queue_load: 0, oldest_wait_ms: 0, held, limits };
        self.total_series.add(second, &usage, self.total.of_second(second));
    }

    /// The resources that the metrics list, at most `max`, with what was counted of each while it
    /// was listed.
    pub(super) fn choose(&mut self, max: usize, second: u64) -> BTreeMap<ResourceName, Counts> {
        let cut = self.cut(max.saturating_add(1), max, second);
        let mut chosen = BTreeMap::new();

        for (name, activity) in &mut self.by_resource {
            activity.listed = cut.as_ref().is_none_or(|cut| is_before(name, activity, second, cut));
            if activity.listed {
                chosen.insert(name.clone(), activity.shown);
            }
        }
        chosen
    }

    /// The first one beyond the `kept` first ones, once there are as many as `full`.
    fn cut(&self, full: usize, kept: usize, second: u64) -> Option<Rank> {
        if self.by_resource.len() < full {
            return None;
        }
        let ranks =
            self.by_resource.iter().map(|(name, activity)| (Reverse(busy(activity, second)), name));
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
        self.has_recent = self
            .by_resource
            .values_mut()
            .fold(false, |recent, activity| activity.forget_old(second) | recent);
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
        (0..times).for_each(|_| activities.busy(&name(text), second));
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
        // It came when the list was full.
        activities.by_resource.get_mut(&name("a")).unwrap().listed = false;
        assert_eq!(chosen(&mut activities, 1, 0), ["m"]);
        happen(&mut activities, "a", 2, 0);
        assert_eq!(chosen(&mut activities, 1, 0), ["a"]);
        // That one goes quiet.
        happen(&mut activities, "m", 1, 3_600);
        assert_eq!(chosen(&mut activities, 1, 3_600), ["m"]);
    }

    #[test]
    fn counters_never_fall_and_their_sum_has_everything() {
        let mut activities = Activities::default();
        let grant = |activities: &mut Activities, text: &str, times: usize| {
            happen(activities, text, times, 0);
            (0..times).for_each(|_| {
                activities.count(&name(text), 0, true, |counts| counts.granted += 1);
            });
        };
        let shown = |activities: &mut Activities| -> Vec<(String, u64)> {
            let chosen = activities.choose(1, 0).into_iter();
            chosen.map(|(name, counts)| (name.to_string(), counts.granted)).collect()
        };
        grant(&mut activities, "a", 10);
        grant(&mut activities, "b", 5);
        assert_eq!(shown(&mut activities), [("a".to_owned(), 10)]);

        // From now on only "a" is listed. Each counts where it stands.
        grant(&mut activities, "a", 1);
        grant(&mut activities, "b", 20);
        assert_eq!(shown(&mut activities), [("b".to_owned(), 5)]);
        assert_eq!(activities.unlisted.granted, 20);
        grant(&mut activities, "a", 100);
        grant(&mut activities, "b", 1);
        assert_eq!(activities.unlisted.granted, 120);

        // "a" is back, and goes on from where it left.
        assert_eq!(shown(&mut activities), [("a".to_owned(), 11)]);
        grant(&mut activities, "a", 1);
        assert_eq!(shown(&mut activities), [("a".to_owned(), 12)]);
        assert_eq!(activities.unlisted.granted, 120);
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
