//! How often what happened.

macro_rules! tally {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// How often what happened, so that a simulation in which it no longer does is noticed.
        #[derive(Debug, Default, PartialEq, Eq)]
        pub struct Tally { $($(#[$doc])* pub $name: u64,)* }

        impl Tally {
            /// Adds another run.
            pub fn add(&mut self, other: &Tally) {
                $(self.$name += other.$name;)*
            }

            /// Panics unless everything happened.
            pub fn assert_all(&self) {
                $(assert!(self.$name > 0, "there was no {}: {self:#?}", stringify!($name));)*
            }
        }
    };
}

tally! {
    /// Messages answered with 250.
    accepted,
    /// Messages answered with 4yz or 5yz.
    refused,
    /// Messages answered with 421.
    left_open,
    /// Messages too large for a journal record that were accepted.
    large,
    /// Messages that were committed with a content file.
    in_files,
    /// Copies in Maildirs.
    delivered,
    /// Envelopes that were given up when they had expired.
    expired,
    /// Envelopes of which a report says that they failed.
    bounced,
    /// Envelopes of which a report says that they are late.
    warned,
    /// Envelopes of which a report says that they are delivered.
    confirmed,
    /// Envelopes that were given up and nobody was told.
    dropped,
    /// Envelopes whose report could not be made for the time being.
    unsent,
    /// Orders that were carried out.
    obeyed,
    /// Envelopes that were paused.
    suspended,
    /// Envelopes that were taken out by hand.
    taken_out,
    /// Times that deliveries were paused.
    paused,
    /// Reports in Maildirs.
    reports,
    /// Recipients that were judged after the engine had given up waiting.
    late,
    /// Sessions that were held back and went on.
    resumed,
    /// Peers that hung up in the middle.
    hung_up,
    /// Content files removed.
    removed,
    /// Attempts that failed for now.
    retried,
    /// Messages that waited because the scheduler was behind.
    pressed,
    /// Envelopes that the scheduler had from the store.
    claimed,
    /// Indexes that broke.
    index_lost,
    /// Messages refused by a disk that failed.
    failed,
    /// Messages of which nobody knows, as the disk failed twice.
    fatal,
    /// Messages refused by a disk that was full.
    full,
    /// Power cuts.
    crashed,
    /// Processes killed.
    killed,
    /// Processes that ended in order.
    ended,
    /// Starts that a power cut ended.
    stopped_starting,
    /// Messages that a reader moved to `cur`.
    read,
}
