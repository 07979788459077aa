--
-- PostgreSQL database dump
--

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: addresses; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.addresses (
    network_id uuid NOT NULL,
    address inet NOT NULL,
    nic_id uuid NOT NULL,
    created_at timestamp with time zone NOT NULL,
    address6 inet,
    CONSTRAINT addresses_address6_check CHECK (((family(address6) = 6) AND (masklen(address6) = 128)))
);

--
-- Name: browser_sessions; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.browser_sessions (
    id uuid NOT NULL,
    hash text NOT NULL,
    token_id uuid NOT NULL,
    created_at timestamp with time zone NOT NULL,
    seen_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT browser_sessions_hash_check CHECK ((hash ~ '^[0-9a-f]{64}$'::text))
);

--
-- Name: decisions; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.decisions (
    id uuid NOT NULL,
    instance_id uuid NOT NULL,
    outcome text NOT NULL,
    host_id uuid,
    body jsonb NOT NULL,
    attempts integer DEFAULT 1 NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT decisions_check CHECK (((outcome = 'placed'::text) = (host_id IS NOT NULL))),
    CONSTRAINT decisions_outcome_check CHECK ((outcome = ANY (ARRAY['placed'::text, 'unplaced'::text])))
);

--
-- Name: events; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.events (
    id bigint NOT NULL,
    "position" bigint,
    at timestamp with time zone NOT NULL,
    class text NOT NULL,
    type text NOT NULL,
    project_id uuid,
    project text,
    object_kind text NOT NULL,
    object_id text NOT NULL,
    object_name text NOT NULL,
    actor text NOT NULL,
    trace_id text,
    operation_id uuid,
    data jsonb DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT events_class_check CHECK ((class = ANY (ARRAY['audit'::text, 'lifecycle'::text, 'observation'::text])))
);

--
-- Name: events_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.events ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.events_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

--
-- Name: fences; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.fences (
    id uuid NOT NULL,
    host_id uuid NOT NULL,
    boot_id text NOT NULL,
    method text NOT NULL,
    evidence jsonb NOT NULL,
    actor text NOT NULL,
    at timestamp with time zone NOT NULL
);

--
-- Name: host_capacity; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.host_capacity (
    host_id uuid NOT NULL,
    cpu_millis bigint NOT NULL,
    memory_mib bigint NOT NULL,
    disk_mib bigint NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT host_capacity_cpu_millis_check CHECK ((cpu_millis >= 0)),
    CONSTRAINT host_capacity_disk_mib_check CHECK ((disk_mib >= 0)),
    CONSTRAINT host_capacity_memory_mib_check CHECK ((memory_mib >= 0))
);

--
-- Name: host_images; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.host_images (
    host_id uuid NOT NULL,
    digest text NOT NULL,
    seen_at timestamp with time zone NOT NULL
);

--
-- Name: host_sessions; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.host_sessions (
    session bigint NOT NULL,
    host_id uuid NOT NULL,
    boot_id text NOT NULL,
    agent_version text NOT NULL,
    opened_at timestamp with time zone NOT NULL
);

--
-- Name: host_sessions_session_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.host_sessions ALTER COLUMN session ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.host_sessions_session_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

--
-- Name: hosts; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.hosts (
    id uuid NOT NULL,
    name text NOT NULL,
    labels jsonb DEFAULT '{}'::jsonb NOT NULL,
    schedulable boolean DEFAULT true NOT NULL,
    revoked_at timestamp with time zone,
    removed_at timestamp with time zone,
    key_fingerprint text NOT NULL,
    assignment_rev bigint DEFAULT 0 NOT NULL,
    session bigint,
    boot_id text,
    agent_version text,
    capabilities jsonb,
    last_seen_at timestamp with time zone,
    silent_since timestamp with time zone,
    resource_version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    clock_ahead_ms integer
);

--
-- Name: idempotency_keys; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.idempotency_keys (
    scope text NOT NULL,
    key text NOT NULL,
    request_hash text NOT NULL,
    state text NOT NULL,
    operation_id uuid,
    status integer,
    answer jsonb,
    headers jsonb,
    lease_until timestamp with time zone NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    holder integer,
    CONSTRAINT idempotency_keys_check CHECK (((state = 'done'::text) = (status IS NOT NULL))),
    CONSTRAINT idempotency_keys_check1 CHECK (((state <> 'committed'::text) OR (operation_id IS NOT NULL))),
    CONSTRAINT idempotency_keys_state_check CHECK ((state = ANY (ARRAY['begun'::text, 'committed'::text, 'done'::text])))
);

--
-- Name: image_imports; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.image_imports (
    operation_id uuid NOT NULL,
    kind text NOT NULL,
    envelope text NOT NULL,
    source text NOT NULL,
    sha256 text,
    holder integer,
    transport text DEFAULT 'url'::text NOT NULL,
    CONSTRAINT image_imports_kind_check CHECK ((kind = ANY (ARRAY['oci'::text, 'disk'::text, 'iso'::text]))),
    CONSTRAINT image_imports_sha256_check CHECK ((sha256 ~ '^[0-9a-f]{64}$'::text)),
    CONSTRAINT image_imports_transport_check CHECK ((transport = ANY (ARRAY['url'::text, 'registry'::text, 'commit'::text, 'push'::text])))
);

--
-- Name: image_places; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.image_places (
    image_id uuid NOT NULL,
    registry text NOT NULL,
    repository text NOT NULL,
    seen_at timestamp with time zone NOT NULL
);

--
-- Name: images; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.images (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    name text NOT NULL,
    kind text NOT NULL,
    digest text NOT NULL,
    size_bytes bigint NOT NULL,
    content jsonb NOT NULL,
    resource_version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT images_digest_check CHECK ((digest ~ '^sha256:[0-9a-f]{64}$'::text)),
    CONSTRAINT images_kind_check CHECK ((kind = ANY (ARRAY['oci'::text, 'disk'::text, 'iso'::text]))),
    CONSTRAINT images_size_bytes_check CHECK ((size_bytes >= 0))
);

--
-- Name: instance_revisions; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.instance_revisions (
    instance_id uuid NOT NULL,
    generation bigint NOT NULL,
    spec jsonb NOT NULL,
    labels jsonb NOT NULL,
    actor text NOT NULL,
    trace_id text NOT NULL,
    operation_id uuid NOT NULL,
    at timestamp with time zone NOT NULL
);

--
-- Name: instances; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.instances (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    name text NOT NULL,
    uuid uuid NOT NULL,
    labels jsonb NOT NULL,
    spec jsonb NOT NULL,
    isolation text NOT NULL,
    desired text NOT NULL,
    generation bigint DEFAULT 1 NOT NULL,
    run_generation bigint DEFAULT 0 NOT NULL,
    image_id uuid NOT NULL,
    image_digest text NOT NULL,
    deleting_since timestamp with time zone,
    epoch_high integer DEFAULT 0 NOT NULL,
    owner_epoch integer,
    decision_id uuid,
    state text NOT NULL,
    reason text,
    conditions jsonb DEFAULT '[]'::jsonb NOT NULL,
    operation_id uuid,
    deadline timestamp with time zone,
    resource_version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    rebuild_image_id uuid,
    snapshots_seen_to timestamp with time zone,
    snapshots_failure jsonb,
    stop_grace_seconds integer,
    CONSTRAINT instances_check CHECK ((owner_epoch <= epoch_high)),
    CONSTRAINT instances_check1 CHECK (((state <> 'deleting'::text) OR (deleting_since IS NOT NULL))),
    CONSTRAINT instances_desired_check CHECK ((desired = ANY (ARRAY['running'::text, 'stopped'::text, 'paused'::text, 'suspended'::text]))),
    CONSTRAINT instances_isolation_check CHECK ((isolation = ANY (ARRAY['vm'::text, 'microvm'::text, 'container'::text]))),
    CONSTRAINT instances_state_check CHECK ((state = ANY (ARRAY['pending'::text, 'running'::text, 'paused'::text, 'suspended'::text, 'stopped'::text, 'unknown'::text, 'error'::text, 'provisioning'::text, 'starting'::text, 'stopping'::text, 'pausing'::text, 'resuming'::text, 'suspending'::text, 'migrating'::text, 'restoring'::text, 'deleting'::text]))),
    CONSTRAINT instances_stop_grace_seconds_check CHECK (((stop_grace_seconds >= 0) AND (stop_grace_seconds <= 3600)))
);

--
-- Name: join_tokens; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.join_tokens (
    id uuid NOT NULL,
    hash text NOT NULL,
    host_name text,
    labels jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_by text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    revoked_at timestamp with time zone,
    consumed_at timestamp with time zone,
    host_id uuid,
    CONSTRAINT join_tokens_check CHECK (((consumed_at IS NULL) = (host_id IS NULL))),
    CONSTRAINT join_tokens_hash_check CHECK ((hash ~ '^[0-9a-f]{64}$'::text))
);

--
-- Name: ledger_head; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.ledger_head (
    one boolean DEFAULT true NOT NULL,
    "position" bigint NOT NULL,
    trimmed bigint NOT NULL,
    CONSTRAINT ledger_head_one_check CHECK (one)
);

--
-- Name: meta; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.meta (
    key text NOT NULL,
    value jsonb NOT NULL,
    updated_at timestamp with time zone NOT NULL
);

--
-- Name: migrations; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.migrations (
    id integer NOT NULL,
    "timestamp" bigint NOT NULL,
    name character varying NOT NULL
);

--
-- Name: migrations_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.migrations_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

--
-- Name: migrations_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.migrations_id_seq OWNED BY public.migrations.id;

--
-- Name: networks; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.networks (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    name text NOT NULL,
    scope text NOT NULL,
    cidr cidr NOT NULL,
    gateway inet NOT NULL,
    resource_version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone NOT NULL,
    internal boolean DEFAULT false NOT NULL,
    cidr6 cidr,
    gateway6 inet,
    CONSTRAINT networks_check CHECK ((gateway << (cidr)::inet)),
    CONSTRAINT networks_cidr6_check CHECK (((family((cidr6)::inet) = 6) AND ((masklen((cidr6)::inet) >= 64) AND (masklen((cidr6)::inet) <= 112)))),
    CONSTRAINT networks_gateway6_check CHECK ((((cidr6 IS NULL) = (gateway6 IS NULL)) AND ((gateway6 IS NULL) OR (gateway6 << (cidr6)::inet)))),
    CONSTRAINT networks_scope_check CHECK ((scope = ANY (ARRAY['host'::text, 'cluster'::text])))
);

--
-- Name: nics; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.nics (
    id uuid NOT NULL,
    instance_id uuid NOT NULL,
    network_id uuid NOT NULL,
    index integer NOT NULL,
    mac macaddr NOT NULL,
    leaving jsonb,
    CONSTRAINT nics_index_check CHECK ((index >= 0))
);

--
-- Name: operations; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.operations (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    kind text NOT NULL,
    target_kind text NOT NULL,
    target_id text NOT NULL,
    target_name text NOT NULL,
    actor text NOT NULL,
    trace_id text NOT NULL,
    state text NOT NULL,
    steps jsonb DEFAULT '[]'::jsonb NOT NULL,
    progress integer DEFAULT 0 NOT NULL,
    deadline timestamp with time zone,
    error jsonb,
    created_at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone,
    CONSTRAINT operations_check CHECK (((finished_at IS NULL) = (state = ANY (ARRAY['pending'::text, 'running'::text])))),
    CONSTRAINT operations_progress_check CHECK (((progress >= 0) AND (progress <= 100))),
    CONSTRAINT operations_state_check CHECK ((state = ANY (ARRAY['pending'::text, 'running'::text, 'succeeded'::text, 'failed'::text, 'cancelled'::text, 'superseded'::text])))
);

--
-- Name: placements; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.placements (
    instance_id uuid NOT NULL,
    epoch integer NOT NULL,
    host_id uuid NOT NULL,
    role text NOT NULL,
    run_generation bigint NOT NULL,
    cpu_millis bigint NOT NULL,
    memory_mib bigint NOT NULL,
    disk_mib bigint NOT NULL,
    decision_id uuid NOT NULL,
    created_at timestamp with time zone NOT NULL,
    offered_at timestamp with time zone,
    phase text DEFAULT 'assigned'::text NOT NULL,
    run integer DEFAULT 0 NOT NULL,
    power text DEFAULT 'off'::text NOT NULL,
    exit jsonb,
    conditions jsonb DEFAULT '[]'::jsonb NOT NULL,
    boot_id text,
    first_running_at timestamp with time zone,
    observed_at timestamp with time zone,
    session bigint,
    seq bigint,
    closed_by text,
    closed_at timestamp with time zone,
    driver text,
    generation bigint,
    applied_generation bigint,
    volumes jsonb DEFAULT '[]'::jsonb NOT NULL,
    sizes jsonb,
    nics jsonb,
    cdroms jsonb,
    vsock_cid bigint,
    numa_host_nodes jsonb,
    uid_range jsonb,
    CONSTRAINT placements_check CHECK (((phase = 'ended'::text) = (closed_at IS NOT NULL))),
    CONSTRAINT placements_check1 CHECK (((closed_by IS NULL) = (closed_at IS NULL))),
    CONSTRAINT placements_closed_by_check CHECK ((closed_by = ANY (ARRAY['report'::text, 'withdrawn'::text, 'refused'::text, 'fence'::text, 'migration'::text, 'hostRemoved'::text]))),
    CONSTRAINT placements_cpu_millis_check CHECK ((cpu_millis >= 0)),
    CONSTRAINT placements_disk_mib_check CHECK ((disk_mib >= 0)),
    CONSTRAINT placements_epoch_check CHECK ((epoch > 0)),
    CONSTRAINT placements_memory_mib_check CHECK ((memory_mib >= 0)),
    CONSTRAINT placements_phase_check CHECK ((phase = ANY (ARRAY['assigned'::text, 'preparing'::text, 'starting'::text, 'running'::text, 'stopping'::text, 'ended'::text]))),
    CONSTRAINT placements_power_check CHECK ((power = ANY (ARRAY['off'::text, 'running'::text, 'paused'::text, 'suspended'::text, 'crashed'::text]))),
    CONSTRAINT placements_role_check CHECK ((role = ANY (ARRAY['owner'::text, 'incoming'::text]))),
    CONSTRAINT placements_run_check CHECK ((run >= 0))
);

--
-- Name: pools; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.pools (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    name text NOT NULL,
    driver text NOT NULL,
    config jsonb DEFAULT '{}'::jsonb NOT NULL,
    resource_version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT pools_driver_check CHECK ((driver = 'directory'::text))
);

--
-- Name: projects; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.projects (
    id uuid NOT NULL,
    name text NOT NULL,
    quota jsonb DEFAULT '{}'::jsonb NOT NULL,
    resource_version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    image_sources jsonb DEFAULT '{"redirects": false, "privateAddresses": false}'::jsonb NOT NULL
);

--
-- Name: registry_credentials; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.registry_credentials (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    host text NOT NULL,
    kind text NOT NULL,
    username text,
    envelope text NOT NULL,
    resource_version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT registry_credentials_check CHECK (((username IS NULL) = (kind = 'identityToken'::text))),
    CONSTRAINT registry_credentials_kind_check CHECK ((kind = ANY (ARRAY['password'::text, 'identityToken'::text])))
);

--
-- Name: role_bindings; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.role_bindings (
    id uuid NOT NULL,
    project_id uuid,
    subject text NOT NULL,
    role text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT role_bindings_role_check CHECK ((role = ANY (ARRAY['admin'::text, 'operator'::text, 'viewer'::text])))
);

--
-- Name: secrets; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.secrets (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    name text NOT NULL,
    envelope text NOT NULL,
    is_text boolean NOT NULL,
    resource_version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL
);

--
-- Name: security_groups; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.security_groups (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    name text NOT NULL,
    rules jsonb NOT NULL,
    resource_version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone NOT NULL
);

--
-- Name: sign_in_codes; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.sign_in_codes (
    id uuid NOT NULL,
    hash text NOT NULL,
    token_id uuid NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT sign_in_codes_hash_check CHECK ((hash ~ '^[0-9a-f]{64}$'::text))
);

--
-- Name: snapshot_disks; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.snapshot_disks (
    snapshot_id uuid NOT NULL,
    volume_id uuid NOT NULL,
    index integer NOT NULL,
    size_mib bigint NOT NULL
);

--
-- Name: snapshots; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.snapshots (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    instance_id uuid NOT NULL,
    host_id uuid NOT NULL,
    name text NOT NULL,
    actor text NOT NULL,
    state text NOT NULL,
    operation_id uuid,
    booked_mib bigint NOT NULL,
    taken jsonb,
    resource_version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone NOT NULL,
    scheduled_for timestamp with time zone,
    memory boolean DEFAULT false NOT NULL,
    CONSTRAINT snapshots_booked_mib_check CHECK ((booked_mib >= 0)),
    CONSTRAINT snapshots_check CHECK (((state = 'ready'::text) = (operation_id IS NULL))),
    CONSTRAINT snapshots_check1 CHECK (((taken IS NOT NULL) OR (state = ANY (ARRAY['creating'::text, 'deleting'::text])))),
    CONSTRAINT snapshots_state_check CHECK ((state = ANY (ARRAY['creating'::text, 'ready'::text, 'reverting'::text, 'deleting'::text])))
);

--
-- Name: terminal_tickets; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.terminal_tickets (
    hash text NOT NULL,
    token_id uuid NOT NULL,
    instance_id uuid NOT NULL,
    opens jsonb,
    expires_at timestamp with time zone NOT NULL,
    envelope text,
    session_id uuid
);

--
-- Name: tokens; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.tokens (
    id uuid NOT NULL,
    name text NOT NULL,
    hash text NOT NULL,
    project_id uuid,
    role text NOT NULL,
    created_by text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone,
    revoked_at timestamp with time zone,
    CONSTRAINT tokens_hash_check CHECK ((hash ~ '^[0-9a-f]{64}$'::text)),
    CONSTRAINT tokens_role_check CHECK ((role = ANY (ARRAY['admin'::text, 'operator'::text, 'viewer'::text])))
);

--
-- Name: tombstones; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.tombstones (
    id uuid NOT NULL,
    host_id uuid NOT NULL,
    instance_id uuid,
    epoch integer,
    volume_id uuid,
    created_at timestamp with time zone NOT NULL,
    done_at timestamp with time zone,
    CONSTRAINT tombstones_check CHECK ((num_nonnulls(epoch, volume_id) = 1))
);

--
-- Name: volume_clones; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.volume_clones (
    volume_id uuid NOT NULL,
    source_volume_id uuid NOT NULL,
    operation_id uuid NOT NULL
);

--
-- Name: volume_exports; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.volume_exports (
    volume_id uuid NOT NULL,
    of_name text NOT NULL,
    consistency text NOT NULL,
    operation_id uuid NOT NULL,
    size_bytes bigint,
    sha256 text,
    expires_at timestamp with time zone,
    CONSTRAINT volume_exports_check CHECK ((((sha256 IS NULL) = (size_bytes IS NULL)) AND ((sha256 IS NULL) = (expires_at IS NULL)))),
    CONSTRAINT volume_exports_consistency_check CHECK ((consistency = ANY (ARRAY['application'::text, 'filesystem'::text, 'crash'::text]))),
    CONSTRAINT volume_exports_size_bytes_check CHECK ((size_bytes >= 0))
);

--
-- Name: volumes; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.volumes (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    pool_id uuid NOT NULL,
    name text NOT NULL,
    host_id uuid,
    kind text NOT NULL,
    format text NOT NULL,
    size_mib bigint NOT NULL,
    base_digest text,
    owner_instance_id uuid,
    delete_with_instance boolean NOT NULL,
    deleting_since timestamp with time zone,
    resource_version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone NOT NULL,
    limits jsonb DEFAULT '{}'::jsonb NOT NULL,
    actual_size_mib bigint,
    source jsonb,
    source_snapshot_id uuid,
    source_volume_id uuid,
    CONSTRAINT volumes_actual_size_mib_check CHECK ((actual_size_mib >= 0)),
    CONSTRAINT volumes_check CHECK (((source_snapshot_id IS NULL) = (source_volume_id IS NULL))),
    CONSTRAINT volumes_check1 CHECK (((source_snapshot_id IS NULL) OR ((source IS NOT NULL) AND (host_id IS NOT NULL)))),
    CONSTRAINT volumes_format_check CHECK ((format = ANY (ARRAY['qcow2'::text, 'raw'::text, 'dir'::text, 'ext4'::text]))),
    CONSTRAINT volumes_kind_check CHECK ((kind = ANY (ARRAY['rootDisk'::text, 'writableLayer'::text, 'data'::text, 'export'::text, 'nvram'::text, 'tpm'::text, 'suspendImage'::text]))),
    CONSTRAINT volumes_size_mib_check CHECK ((size_mib > 0))
);

--
-- Name: migrations id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.migrations ALTER COLUMN id SET DEFAULT nextval('public.migrations_id_seq'::regclass);

--
-- Name: migrations PK_8c82d7f526340ab734260ea46be; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.migrations
    ADD CONSTRAINT "PK_8c82d7f526340ab734260ea46be" PRIMARY KEY (id);

--
-- Name: addresses addresses_address6_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.addresses
    ADD CONSTRAINT addresses_address6_key UNIQUE (network_id, address6);

--
-- Name: addresses addresses_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.addresses
    ADD CONSTRAINT addresses_pkey PRIMARY KEY (network_id, address);

--
-- Name: browser_sessions browser_sessions_hash_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.browser_sessions
    ADD CONSTRAINT browser_sessions_hash_key UNIQUE (hash);

--
-- Name: browser_sessions browser_sessions_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.browser_sessions
    ADD CONSTRAINT browser_sessions_pkey PRIMARY KEY (id);

--
-- Name: decisions decisions_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.decisions
    ADD CONSTRAINT decisions_pkey PRIMARY KEY (id);

--
-- Name: events events_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (id);

--
-- Name: events events_position_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.events
    ADD CONSTRAINT events_position_key UNIQUE ("position");

--
-- Name: fences fences_host_id_boot_id_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.fences
    ADD CONSTRAINT fences_host_id_boot_id_key UNIQUE (host_id, boot_id);

--
-- Name: fences fences_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.fences
    ADD CONSTRAINT fences_pkey PRIMARY KEY (id);

--
-- Name: host_capacity host_capacity_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.host_capacity
    ADD CONSTRAINT host_capacity_pkey PRIMARY KEY (host_id);

--
-- Name: host_images host_images_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.host_images
    ADD CONSTRAINT host_images_pkey PRIMARY KEY (host_id, digest);

--
-- Name: host_sessions host_sessions_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.host_sessions
    ADD CONSTRAINT host_sessions_pkey PRIMARY KEY (session);

--
-- Name: hosts hosts_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.hosts
    ADD CONSTRAINT hosts_pkey PRIMARY KEY (id);

--
-- Name: idempotency_keys idempotency_keys_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (scope, key);

--
-- Name: image_imports image_imports_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.image_imports
    ADD CONSTRAINT image_imports_pkey PRIMARY KEY (operation_id);

--
-- Name: image_places image_places_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.image_places
    ADD CONSTRAINT image_places_pkey PRIMARY KEY (image_id, registry, repository);

--
-- Name: images images_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.images
    ADD CONSTRAINT images_pkey PRIMARY KEY (id);

--
-- Name: images images_project_id_name_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.images
    ADD CONSTRAINT images_project_id_name_key UNIQUE (project_id, name);

--
-- Name: instance_revisions instance_revisions_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.instance_revisions
    ADD CONSTRAINT instance_revisions_pkey PRIMARY KEY (instance_id, generation);

--
-- Name: instances instances_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.instances
    ADD CONSTRAINT instances_pkey PRIMARY KEY (id);

--
-- Name: instances instances_project_id_name_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.instances
    ADD CONSTRAINT instances_project_id_name_key UNIQUE (project_id, name);

--
-- Name: instances instances_uuid_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.instances
    ADD CONSTRAINT instances_uuid_key UNIQUE (uuid);

--
-- Name: join_tokens join_tokens_hash_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.join_tokens
    ADD CONSTRAINT join_tokens_hash_key UNIQUE (hash);

--
-- Name: join_tokens join_tokens_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.join_tokens
    ADD CONSTRAINT join_tokens_pkey PRIMARY KEY (id);

--
-- Name: ledger_head ledger_head_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.ledger_head
    ADD CONSTRAINT ledger_head_pkey PRIMARY KEY (one);

--
-- Name: meta meta_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.meta
    ADD CONSTRAINT meta_pkey PRIMARY KEY (key);

--
-- Name: networks networks_apart; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.networks
    ADD CONSTRAINT networks_apart EXCLUDE USING gist (cidr inet_ops WITH &&);

--
-- Name: networks networks_apart6; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.networks
    ADD CONSTRAINT networks_apart6 EXCLUDE USING gist (cidr6 inet_ops WITH &&);

--
-- Name: networks networks_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.networks
    ADD CONSTRAINT networks_pkey PRIMARY KEY (id);

--
-- Name: networks networks_project_id_name_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.networks
    ADD CONSTRAINT networks_project_id_name_key UNIQUE (project_id, name);

--
-- Name: nics nics_instance_id_index_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.nics
    ADD CONSTRAINT nics_instance_id_index_key UNIQUE (instance_id, index);

--
-- Name: nics nics_network_id_mac_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.nics
    ADD CONSTRAINT nics_network_id_mac_key UNIQUE (network_id, mac);

--
-- Name: nics nics_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.nics
    ADD CONSTRAINT nics_pkey PRIMARY KEY (id);

--
-- Name: operations operations_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.operations
    ADD CONSTRAINT operations_pkey PRIMARY KEY (id);

--
-- Name: placements placements_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.placements
    ADD CONSTRAINT placements_pkey PRIMARY KEY (instance_id, epoch);

--
-- Name: pools pools_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.pools
    ADD CONSTRAINT pools_pkey PRIMARY KEY (id);

--
-- Name: pools pools_project_id_name_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.pools
    ADD CONSTRAINT pools_project_id_name_key UNIQUE (project_id, name);

--
-- Name: projects projects_name_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.projects
    ADD CONSTRAINT projects_name_key UNIQUE (name);

--
-- Name: projects projects_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.projects
    ADD CONSTRAINT projects_pkey PRIMARY KEY (id);

--
-- Name: registry_credentials registry_credentials_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.registry_credentials
    ADD CONSTRAINT registry_credentials_pkey PRIMARY KEY (id);

--
-- Name: registry_credentials registry_credentials_project_id_host_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.registry_credentials
    ADD CONSTRAINT registry_credentials_project_id_host_key UNIQUE (project_id, host);

--
-- Name: role_bindings role_bindings_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.role_bindings
    ADD CONSTRAINT role_bindings_pkey PRIMARY KEY (id);

--
-- Name: role_bindings role_bindings_project_id_subject_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.role_bindings
    ADD CONSTRAINT role_bindings_project_id_subject_key UNIQUE NULLS NOT DISTINCT (project_id, subject);

--
-- Name: secrets secrets_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.secrets
    ADD CONSTRAINT secrets_pkey PRIMARY KEY (id);

--
-- Name: secrets secrets_project_id_name_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.secrets
    ADD CONSTRAINT secrets_project_id_name_key UNIQUE (project_id, name);

--
-- Name: security_groups security_groups_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.security_groups
    ADD CONSTRAINT security_groups_pkey PRIMARY KEY (id);

--
-- Name: security_groups security_groups_project_id_name_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.security_groups
    ADD CONSTRAINT security_groups_project_id_name_key UNIQUE (project_id, name);

--
-- Name: sign_in_codes sign_in_codes_hash_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.sign_in_codes
    ADD CONSTRAINT sign_in_codes_hash_key UNIQUE (hash);

--
-- Name: sign_in_codes sign_in_codes_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.sign_in_codes
    ADD CONSTRAINT sign_in_codes_pkey PRIMARY KEY (id);

--
-- Name: snapshot_disks snapshot_disks_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshot_disks
    ADD CONSTRAINT snapshot_disks_pkey PRIMARY KEY (snapshot_id, volume_id);

--
-- Name: snapshots snapshots_instance_id_name_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots
    ADD CONSTRAINT snapshots_instance_id_name_key UNIQUE (instance_id, name);

--
-- Name: snapshots snapshots_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots
    ADD CONSTRAINT snapshots_pkey PRIMARY KEY (id);

--
-- Name: terminal_tickets terminal_tickets_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.terminal_tickets
    ADD CONSTRAINT terminal_tickets_pkey PRIMARY KEY (hash);

--
-- Name: tokens tokens_hash_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.tokens
    ADD CONSTRAINT tokens_hash_key UNIQUE (hash);

--
-- Name: tokens tokens_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.tokens
    ADD CONSTRAINT tokens_pkey PRIMARY KEY (id);

--
-- Name: tombstones tombstones_host_id_instance_id_epoch_volume_id_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.tombstones
    ADD CONSTRAINT tombstones_host_id_instance_id_epoch_volume_id_key UNIQUE NULLS NOT DISTINCT (host_id, instance_id, epoch, volume_id);

--
-- Name: tombstones tombstones_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.tombstones
    ADD CONSTRAINT tombstones_pkey PRIMARY KEY (id);

--
-- Name: volume_clones volume_clones_operation_id_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.volume_clones
    ADD CONSTRAINT volume_clones_operation_id_key UNIQUE (operation_id);

--
-- Name: volume_clones volume_clones_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.volume_clones
    ADD CONSTRAINT volume_clones_pkey PRIMARY KEY (volume_id);

--
-- Name: volume_exports volume_exports_operation_id_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.volume_exports
    ADD CONSTRAINT volume_exports_operation_id_key UNIQUE (operation_id);

--
-- Name: volume_exports volume_exports_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.volume_exports
    ADD CONSTRAINT volume_exports_pkey PRIMARY KEY (volume_id);

--
-- Name: volumes volumes_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.volumes
    ADD CONSTRAINT volumes_pkey PRIMARY KEY (id);

--
-- Name: volumes volumes_project_id_name_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.volumes
    ADD CONSTRAINT volumes_project_id_name_key UNIQUE (project_id, name);

--
-- Name: addresses_nic; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX addresses_nic ON public.addresses USING btree (nic_id);

--
-- Name: browser_sessions_expiry; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX browser_sessions_expiry ON public.browser_sessions USING btree (expires_at);

--
-- Name: browser_sessions_token; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX browser_sessions_token ON public.browser_sessions USING btree (token_id);

--
-- Name: decisions_instance; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX decisions_instance ON public.decisions USING btree (instance_id, at DESC);

--
-- Name: events_object; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX events_object ON public.events USING btree (object_id, "position");

--
-- Name: events_project; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX events_project ON public.events USING btree (project, "position");

--
-- Name: events_trimmable; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX events_trimmable ON public.events USING btree (at) WHERE (class <> 'audit'::text);

--
-- Name: events_unnumbered; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX events_unnumbered ON public.events USING btree (id) WHERE ("position" IS NULL);

--
-- Name: host_images_digest; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX host_images_digest ON public.host_images USING btree (digest);

--
-- Name: host_sessions_host; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX host_sessions_host ON public.host_sessions USING btree (host_id, session DESC);

--
-- Name: hosts_heard; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX hosts_heard ON public.hosts USING btree (last_seen_at) WHERE ((silent_since IS NULL) AND (removed_at IS NULL));

--
-- Name: hosts_key; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX hosts_key ON public.hosts USING btree (key_fingerprint) WHERE (removed_at IS NULL);

--
-- Name: hosts_name; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX hosts_name ON public.hosts USING btree (name) WHERE (removed_at IS NULL);

--
-- Name: idempotency_keys_expiry; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX idempotency_keys_expiry ON public.idempotency_keys USING btree (expires_at);

--
-- Name: images_digest; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX images_digest ON public.images USING btree (digest);

--
-- Name: instances_deleting; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX instances_deleting ON public.instances USING btree (deleting_since) WHERE (deleting_since IS NOT NULL);

--
-- Name: instances_image; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX instances_image ON public.instances USING btree (image_id);

--
-- Name: instances_labels; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX instances_labels ON public.instances USING gin (labels jsonb_path_ops);

--
-- Name: instances_operation; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX instances_operation ON public.instances USING btree (operation_id) WHERE (operation_id IS NOT NULL);

--
-- Name: instances_publishing; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX instances_publishing ON public.instances USING btree (id) WHERE (spec @? '$."nics"[*]."ports"[*]'::jsonpath);

--
-- Name: instances_rebuild_image; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX instances_rebuild_image ON public.instances USING btree (rebuild_image_id) WHERE (rebuild_image_id IS NOT NULL);

--
-- Name: instances_snapshots; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX instances_snapshots ON public.instances USING btree (id) WHERE (spec ? 'snapshots'::text);

--
-- Name: instances_state; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX instances_state ON public.instances USING btree (state);

--
-- Name: instances_wanting; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX instances_wanting ON public.instances USING btree (created_at) WHERE ((deleting_since IS NULL) AND (desired = ANY (ARRAY['running'::text, 'paused'::text])));

--
-- Name: operations_deadline; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX operations_deadline ON public.operations USING btree (deadline) WHERE (state = ANY (ARRAY['pending'::text, 'running'::text]));

--
-- Name: operations_newest; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX operations_newest ON public.operations USING btree (created_at DESC, id DESC);

--
-- Name: operations_project; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX operations_project ON public.operations USING btree (project_id, created_at DESC, id DESC);

--
-- Name: operations_target; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX operations_target ON public.operations USING btree (target_id, created_at DESC);

--
-- Name: placements_decision; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX placements_decision ON public.placements USING btree (decision_id);

--
-- Name: placements_live; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX placements_live ON public.placements USING btree (host_id) INCLUDE (cpu_millis, memory_mib) WHERE (phase <> 'ended'::text);

--
-- Name: placements_one_incoming; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX placements_one_incoming ON public.placements USING btree (instance_id) WHERE ((phase <> 'ended'::text) AND (role = 'incoming'::text));

--
-- Name: placements_one_owner; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX placements_one_owner ON public.placements USING btree (instance_id) WHERE ((phase <> 'ended'::text) AND (role = 'owner'::text));

--
-- Name: role_bindings_subject; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX role_bindings_subject ON public.role_bindings USING btree (subject);

--
-- Name: sign_in_codes_expiry; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX sign_in_codes_expiry ON public.sign_in_codes USING btree (expires_at);

--
-- Name: sign_in_codes_token; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX sign_in_codes_token ON public.sign_in_codes USING btree (token_id);

--
-- Name: snapshot_disks_volume; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX snapshot_disks_volume ON public.snapshot_disks USING btree (volume_id);

--
-- Name: snapshots_host; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX snapshots_host ON public.snapshots USING btree (host_id) INCLUDE (booked_mib);

--
-- Name: snapshots_operation; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX snapshots_operation ON public.snapshots USING btree (operation_id);

--
-- Name: snapshots_scheduled; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX snapshots_scheduled ON public.snapshots USING btree (instance_id, scheduled_for) WHERE (scheduled_for IS NOT NULL);

--
-- Name: terminal_tickets_expiry; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX terminal_tickets_expiry ON public.terminal_tickets USING btree (expires_at);

--
-- Name: tokens_project; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX tokens_project ON public.tokens USING btree (project_id);

--
-- Name: tombstones_instance; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX tombstones_instance ON public.tombstones USING btree (instance_id);

--
-- Name: tombstones_waiting; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX tombstones_waiting ON public.tombstones USING btree (host_id) WHERE (done_at IS NULL);

--
-- Name: volume_clones_source; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX volume_clones_source ON public.volume_clones USING btree (source_volume_id);

--
-- Name: volume_exports_expiry; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX volume_exports_expiry ON public.volume_exports USING btree (expires_at) WHERE (expires_at IS NOT NULL);

--
-- Name: volumes_host; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX volumes_host ON public.volumes USING btree (host_id) INCLUDE (size_mib);

--
-- Name: volumes_one_root; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX volumes_one_root ON public.volumes USING btree (owner_instance_id) WHERE (kind = ANY (ARRAY['rootDisk'::text, 'writableLayer'::text]));

--
-- Name: volumes_owner; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX volumes_owner ON public.volumes USING btree (owner_instance_id);

--
-- Name: volumes_pool; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX volumes_pool ON public.volumes USING btree (pool_id);

--
-- Name: volumes_source_snapshot; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX volumes_source_snapshot ON public.volumes USING btree (source_snapshot_id, source_volume_id) WHERE (source_snapshot_id IS NOT NULL);

--
-- Name: addresses addresses_network_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.addresses
    ADD CONSTRAINT addresses_network_id_fkey FOREIGN KEY (network_id) REFERENCES public.networks(id);

--
-- Name: addresses addresses_nic_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.addresses
    ADD CONSTRAINT addresses_nic_id_fkey FOREIGN KEY (nic_id) REFERENCES public.nics(id);

--
-- Name: browser_sessions browser_sessions_token_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.browser_sessions
    ADD CONSTRAINT browser_sessions_token_id_fkey FOREIGN KEY (token_id) REFERENCES public.tokens(id);

--
-- Name: decisions decisions_host_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.decisions
    ADD CONSTRAINT decisions_host_id_fkey FOREIGN KEY (host_id) REFERENCES public.hosts(id);

--
-- Name: decisions decisions_instance_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.decisions
    ADD CONSTRAINT decisions_instance_id_fkey FOREIGN KEY (instance_id) REFERENCES public.instances(id);

--
-- Name: fences fences_host_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.fences
    ADD CONSTRAINT fences_host_id_fkey FOREIGN KEY (host_id) REFERENCES public.hosts(id);

--
-- Name: host_capacity host_capacity_host_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.host_capacity
    ADD CONSTRAINT host_capacity_host_id_fkey FOREIGN KEY (host_id) REFERENCES public.hosts(id);

--
-- Name: host_images host_images_host_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.host_images
    ADD CONSTRAINT host_images_host_id_fkey FOREIGN KEY (host_id) REFERENCES public.hosts(id);

--
-- Name: host_sessions host_sessions_host_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.host_sessions
    ADD CONSTRAINT host_sessions_host_id_fkey FOREIGN KEY (host_id) REFERENCES public.hosts(id);

--
-- Name: idempotency_keys idempotency_keys_operation_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_operation_id_fkey FOREIGN KEY (operation_id) REFERENCES public.operations(id);

--
-- Name: image_imports image_imports_operation_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.image_imports
    ADD CONSTRAINT image_imports_operation_id_fkey FOREIGN KEY (operation_id) REFERENCES public.operations(id) ON DELETE CASCADE;

--
-- Name: image_places image_places_image_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.image_places
    ADD CONSTRAINT image_places_image_id_fkey FOREIGN KEY (image_id) REFERENCES public.images(id) ON DELETE CASCADE;

--
-- Name: images images_project_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.images
    ADD CONSTRAINT images_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects(id);

--
-- Name: instance_revisions instance_revisions_operation_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.instance_revisions
    ADD CONSTRAINT instance_revisions_operation_id_fkey FOREIGN KEY (operation_id) REFERENCES public.operations(id);

--
-- Name: instances instances_image_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.instances
    ADD CONSTRAINT instances_image_id_fkey FOREIGN KEY (image_id) REFERENCES public.images(id);

--
-- Name: instances instances_operation_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.instances
    ADD CONSTRAINT instances_operation_id_fkey FOREIGN KEY (operation_id) REFERENCES public.operations(id);

--
-- Name: instances instances_project_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.instances
    ADD CONSTRAINT instances_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects(id);

--
-- Name: instances instances_rebuild_image_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.instances
    ADD CONSTRAINT instances_rebuild_image_id_fkey FOREIGN KEY (rebuild_image_id) REFERENCES public.images(id);

--
-- Name: join_tokens join_tokens_host_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.join_tokens
    ADD CONSTRAINT join_tokens_host_id_fkey FOREIGN KEY (host_id) REFERENCES public.hosts(id);

--
-- Name: networks networks_project_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.networks
    ADD CONSTRAINT networks_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects(id);

--
-- Name: nics nics_instance_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.nics
    ADD CONSTRAINT nics_instance_id_fkey FOREIGN KEY (instance_id) REFERENCES public.instances(id);

--
-- Name: nics nics_network_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.nics
    ADD CONSTRAINT nics_network_id_fkey FOREIGN KEY (network_id) REFERENCES public.networks(id);

--
-- Name: operations operations_project_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.operations
    ADD CONSTRAINT operations_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects(id);

--
-- Name: placements placements_decision_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.placements
    ADD CONSTRAINT placements_decision_id_fkey FOREIGN KEY (decision_id) REFERENCES public.decisions(id);

--
-- Name: placements placements_host_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.placements
    ADD CONSTRAINT placements_host_id_fkey FOREIGN KEY (host_id) REFERENCES public.hosts(id);

--
-- Name: placements placements_instance_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.placements
    ADD CONSTRAINT placements_instance_id_fkey FOREIGN KEY (instance_id) REFERENCES public.instances(id);

--
-- Name: pools pools_project_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.pools
    ADD CONSTRAINT pools_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects(id);

--
-- Name: registry_credentials registry_credentials_project_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.registry_credentials
    ADD CONSTRAINT registry_credentials_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects(id);

--
-- Name: role_bindings role_bindings_project_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.role_bindings
    ADD CONSTRAINT role_bindings_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects(id);

--
-- Name: secrets secrets_project_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.secrets
    ADD CONSTRAINT secrets_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects(id);

--
-- Name: security_groups security_groups_project_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.security_groups
    ADD CONSTRAINT security_groups_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects(id);

--
-- Name: sign_in_codes sign_in_codes_token_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.sign_in_codes
    ADD CONSTRAINT sign_in_codes_token_id_fkey FOREIGN KEY (token_id) REFERENCES public.tokens(id);

--
-- Name: snapshot_disks snapshot_disks_snapshot_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshot_disks
    ADD CONSTRAINT snapshot_disks_snapshot_id_fkey FOREIGN KEY (snapshot_id) REFERENCES public.snapshots(id) ON DELETE CASCADE;

--
-- Name: snapshot_disks snapshot_disks_volume_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshot_disks
    ADD CONSTRAINT snapshot_disks_volume_id_fkey FOREIGN KEY (volume_id) REFERENCES public.volumes(id);

--
-- Name: snapshots snapshots_host_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots
    ADD CONSTRAINT snapshots_host_id_fkey FOREIGN KEY (host_id) REFERENCES public.hosts(id);

--
-- Name: snapshots snapshots_instance_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots
    ADD CONSTRAINT snapshots_instance_id_fkey FOREIGN KEY (instance_id) REFERENCES public.instances(id);

--
-- Name: snapshots snapshots_operation_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots
    ADD CONSTRAINT snapshots_operation_id_fkey FOREIGN KEY (operation_id) REFERENCES public.operations(id);

--
-- Name: snapshots snapshots_project_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.snapshots
    ADD CONSTRAINT snapshots_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects(id);

--
-- Name: terminal_tickets terminal_tickets_instance_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.terminal_tickets
    ADD CONSTRAINT terminal_tickets_instance_id_fkey FOREIGN KEY (instance_id) REFERENCES public.instances(id) ON DELETE CASCADE;

--
-- Name: terminal_tickets terminal_tickets_session_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.terminal_tickets
    ADD CONSTRAINT terminal_tickets_session_id_fkey FOREIGN KEY (session_id) REFERENCES public.browser_sessions(id) ON DELETE CASCADE;

--
-- Name: terminal_tickets terminal_tickets_token_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.terminal_tickets
    ADD CONSTRAINT terminal_tickets_token_id_fkey FOREIGN KEY (token_id) REFERENCES public.tokens(id) ON DELETE CASCADE;

--
-- Name: tokens tokens_project_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.tokens
    ADD CONSTRAINT tokens_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects(id);

--
-- Name: tombstones tombstones_host_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.tombstones
    ADD CONSTRAINT tombstones_host_id_fkey FOREIGN KEY (host_id) REFERENCES public.hosts(id);

--
-- Name: tombstones tombstones_instance_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.tombstones
    ADD CONSTRAINT tombstones_instance_id_fkey FOREIGN KEY (instance_id) REFERENCES public.instances(id);

--
-- Name: volume_clones volume_clones_operation_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.volume_clones
    ADD CONSTRAINT volume_clones_operation_id_fkey FOREIGN KEY (operation_id) REFERENCES public.operations(id);

--
-- Name: volume_clones volume_clones_source_volume_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.volume_clones
    ADD CONSTRAINT volume_clones_source_volume_id_fkey FOREIGN KEY (source_volume_id) REFERENCES public.volumes(id);

--
-- Name: volume_clones volume_clones_volume_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.volume_clones
    ADD CONSTRAINT volume_clones_volume_id_fkey FOREIGN KEY (volume_id) REFERENCES public.volumes(id) ON DELETE CASCADE;

--
-- Name: volume_exports volume_exports_operation_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.volume_exports
    ADD CONSTRAINT volume_exports_operation_id_fkey FOREIGN KEY (operation_id) REFERENCES public.operations(id);

--
-- Name: volume_exports volume_exports_volume_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.volume_exports
    ADD CONSTRAINT volume_exports_volume_id_fkey FOREIGN KEY (volume_id) REFERENCES public.volumes(id) ON DELETE CASCADE;

--
-- Name: volumes volumes_host_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.volumes
    ADD CONSTRAINT volumes_host_id_fkey FOREIGN KEY (host_id) REFERENCES public.hosts(id);

--
-- Name: volumes volumes_owner_instance_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.volumes
    ADD CONSTRAINT volumes_owner_instance_id_fkey FOREIGN KEY (owner_instance_id) REFERENCES public.instances(id);

--
-- Name: volumes volumes_pool_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.volumes
    ADD CONSTRAINT volumes_pool_id_fkey FOREIGN KEY (pool_id) REFERENCES public.pools(id);

--
-- Name: volumes volumes_project_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.volumes
    ADD CONSTRAINT volumes_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects(id);

--
-- Name: volumes volumes_source_snapshot_id_source_volume_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.volumes
    ADD CONSTRAINT volumes_source_snapshot_id_source_volume_id_fkey FOREIGN KEY (source_snapshot_id, source_volume_id) REFERENCES public.snapshot_disks(snapshot_id, volume_id);

--
-- PostgreSQL database dump complete
--
