"""Every key we keep in Redis.

``P`` is the setting ``redis.prefix`` (``headrace``), ``s`` a shard (one character, the first of every job id). The
tag ``P:{s}`` keeps all keys of a job and its queue in one slot. ``pool`` in a key is the Celery queue whose workers
may take the work (``predict.cpu``), ``line`` a queue, or a queue and ``!`` for its side line of suspects.

    P:{s}:job:{id}            hash    the record of a job, the fence; expires ``jobs.record_days`` after its end
    P:{s}:data:{id}           hash    input, output, logs, progress; expires ``jobs.retain_seconds`` after its end
    P:{s}:events:{id}         stream  what happened to a job that is followed or reports; bounded; expires with its data
    P:{s}:noted               channel ids of followed jobs to whose stream something came
    P:{s}:waiters:{id}        set     API processes to wake when the job ends; expires by itself
    P:{s}:queue:{line}        zset    waiting jobs by virtual finish time
    P:{s}:born:{line}         zset    the same jobs by creation time, to tell the age of the oldest
    P:{s}:load:{line}         hash    rows and bytes waiting, virtual clock v; of each flow its finish f: and count n:
    P:{s}:pace:{queue}        hash    decayed sums of rows done and of milliseconds that work waited
    P:{s}:pace:{account}|     hash    the same of an account, over all its queues
    P:{s}:ready:{pool}        zset    lines with work, by their turn in a round robin
    P:{s}:pools               set     the pools that ever had work
    P:{s}:bell:{pool}         string  token of the Celery message that stands for "this pool has work"
    P:{s}:nudge:{pool}        string  when a sweep last replaced a lost message
    P:{s}:claims              zset    claims by the end of their lease
    P:{s}:claim:{claim}       hash    job id -> attempt, and ! -> hard deadline and whether it runs alone
    P:{s}:open                zset    jobs that have not ended, by deadline
    P:{s}:account:{account}   hash    rows and bytes of the account's open jobs
    P:{s}:idem:{account}:{key} string id and body hash; no life time while the job is open, then that of its record
    P:{s}:recent:{account}:{hash} string the job that a body made, for clients that repeat without a key; minutes
    P:{s}:outgoing-hosts      zset    lanes in which something waits, by the time to look at them again
    P:{s}:outgoing:{host}     zset    id|what by due time: start, progress, completed (webhooks), test
    P:{s}:outgoing:fetch@{host} zset  id|fetch by due time: inputs to download from there
    P:{s}:pause:{host}        string  until when nothing goes there, since it failed again and again; ends by itself
    P:{s}:deliveries:{id}     list    attempts to deliver the job's webhooks, JSON; lives as long as the record
    P:{s}:tries:{id}          hash    what -> failed attempts so far; lives as long as the record
    P:{s}:dead:{account}      zset    id|what of webhooks that were given up, by that time
    P:{s}:list:{account}:{kind} zset  job ids by creation time, for listings
    P:{s}:retired             zset    account|kind|id by the time its record expires, to clean the listings
    P:{s}:file:{id}           hash    the record of an uploaded file; expires with it
    P:{s}:files:{account}     zset    ids of an account's files by creation time
    P:{s}:file-bytes          hash    account -> bytes of its files
    P:{s}:file-ends           zset    account|id|bytes of files by the time they end, to clean the listings
    P:{s}:spilled             zset    paths of inputs, outputs, uploads, files, checkpoints, by the time to delete them
    P:{s}:runs                hash    owner/name -> predictions and trainings that were ever made with the model
    P:{s}:totals              hash    figures for metrics: jobs by kind:status, and sums of milliseconds

    P:sweeper                 string  the lock of the sweeps
    P:wake:{process}          channel ids of ended jobs that this API process waits for
    P:changed                 channel names of cached facts that changed (keys, aliases, versions)
    P:key:{digest}            hash    an API key: account, name, scopes, times; the key itself is never stored
    P:rate:{class}:{key id}   hash    tokens of a bucket and when they were counted; expires when it would be full
    P:keys                    set     digests of all keys
    P:browser-token:{digest}  hash    a token of a page: the digest of its key, its model, times; expires with it
    P:webhook-secrets:{account} hash  secret -> when it stops to sign in milliseconds, 0 for the one in use
    P:webhook-trial:{id}      hash    a test message: account, url, channel to wake; ten minutes
    P:listeners               zset    loopback addresses that may be called, by the end of their registration
    P:circuits                zset    hosts that get no webhooks for a while, by the end of it
    P:models                  hash    owner/name -> description and times, JSON
    P:versions                hash    version id -> owner/name
    P:aliases:{owner/name}    hash    alias -> sequence:version id, the newest record of the store
    P:alias-sequence          string  counter that orders alias records
    P:promotion:{owner/name}:{alias} hash an intended move: version, by whom, workers that are ready or pending
    P:promotions              set     the names of those hashes
    P:deployments             hash    owner/name -> model, pool, instances, JSON; its lock beside it
    P:loading:{version}       string  whose turn it is to load the version; ends by itself
    P:loads:{version}         hash    failed and begun loads, and the last error; cleared by a good load
    P:lock:{owner/name}       string  held while a model or its aliases change; ends by itself
    P:dataset-names           hash    data set name -> digest
    P:workers                 zset    worker names by the time their heartbeat ends
    P:url-secret              string  32 random bytes, made once, from which the keys of signed URLs are derived
    P:writable                none    never there: what a probe of readiness would overwrite, to see whether writes pass
    P:worker:{name}           hash    kind, pool, host, pid, loaded versions; expires with the heartbeat
"""

SHARDS = ("a",)
"""The shards; one until a second Redis is needed. A job's shard is the first character of its id."""


class Keyspace:
    """Makes the names of keys under one prefix.

    Args:
        prefix: The setting ``redis.prefix``.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def tag(self, shard: str = SHARDS[0]) -> str:
        """The common head of a shard's keys, ``headrace:{a}``."""
        return f"{self.prefix}:{{{shard}}}"

    def of_job(self, kind: str, job_id: str) -> str:
        """A key of one job: ``job``, ``data``, ``events`` or ``waiters``."""
        return f"{self.tag(job_id[0])}:{kind}:{job_id}"

    def in_shard(self, *parts: str, shard: str = SHARDS[0]) -> str:
        """A key of a shard that belongs to no single job."""
        return ":".join((self.tag(shard), *parts))

    def plain(self, *parts: str) -> str:
        """A key outside the shards."""
        return ":".join((self.prefix, *parts))
