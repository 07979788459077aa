import { Button, Checkbox, NativeSelect, SegmentedControl, Textarea } from '@mantine/core';
import { answer } from '@berth/client';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { Link, useNavigate, useParams, useSearch } from '@tanstack/react-router';
import { useEffect, useState, type FormEvent } from 'react';
import { api, type Image, type Network } from '../api/client.js';
import { fieldSaid, said } from '../api/problem.js';
import { imagesQuery, instanceQuery, networksQuery } from '../api/queries.js';
import { Empty, Failure, Waiting } from '../parts/notices.js';
import { Page, Panel } from '../parts/page.js';
import { Isolating, Names, Resources } from './create-parts.js';
import { Probes } from './create-probes.js';
import { Secrets, StartsAfter, Volumes } from './create-project.js';
import { DecisionView } from './decision.js';
import { Check, Num, Text, type Form } from './fields.js';
import { bodyOf, firstDraft, kindFor, specOf, type Draft } from './form.js';

export function InstanceCreate() {
  const { project } = useParams({ from: '/inside/p/$project/create' });
  const asked = useSearch({ from: '/inside/p/$project/create' }).image;
  const images = useQuery(imagesQuery(project));
  return (
    <Page title="Create instance">
      {images.error !== null && <Failure error={images.error} retry={() => void images.refetch()} />}
      {images.data === undefined && images.error === null && <Waiting />}
      {images.data?.length === 0 && (
        <Empty title="There is no image to create an instance from">
          <p className="flat">
            <Link to="/p/$project/images" params={{ project }}>
              Upload one first
            </Link>
            : an OCI archive for containers and microVMs, or a qcow2 or raw disk for virtual machines.
          </p>
        </Empty>
      )}
      {images.data !== undefined && images.data.length > 0 && (
        <Create project={project} images={images.data} asked={asked} />
      )}
    </Page>
  );
}

function first(images: readonly Image[], asked: string | undefined): Draft {
  const image =
    images.find((i) => i.name === asked) ??
    images.find((i) => i.kind === 'oci') ??
    images.find((i) => i.kind === 'disk');
  return { ...firstDraft, isolation: image?.kind === 'disk' ? 'vm' : 'container', image: image?.name ?? '' };
}

function Create({
  project,
  images,
  asked,
}: {
  project: string;
  images: readonly Image[];
  asked: string | undefined;
}) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const networks = useQuery(networksQuery(project)).data ?? [];
  const [draft, setDraft] = useState(() => first(images, asked));
  const change = (part: Partial<Draft>): void => setDraft((old) => ({ ...old, ...part }));
  const create = useMutation({
    mutationFn: () =>
      answer(
        api.rest.POST('/v1/projects/{project}/instances', {
          params: { path: { project } },
          body: bodyOf(draft),
        }),
      ),
    onSuccess: ({ instance }) => {
      if (instance !== null) client.setQueryData(instanceQuery(project, draft.name).queryKey, instance);
      void navigate({ to: '/p/$project/instances/$name', params: { project, name: draft.name } });
    },
  });
  const preview = usePreview(project, draft);
  // What the API says of the spec while it is typed, and of the whole when it was sent.
  const problem = said(create.error ?? preview.error);
  const error = (pointer: string) => fieldSaid(problem.fields, pointer);
  const form: Form = { draft, change, error };
  const suited = images.filter((i) => i.kind === kindFor(draft.isolation));
  const isolate = (isolation: Draft['isolation']): void => {
    const image = images.find((i) => i.kind === kindFor(isolation))?.name ?? '';
    change({ isolation, image });
  };
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    create.mutate();
  };
  return (
    <form className="create" onSubmit={submit}>
      <div className="stack">
        <What form={form} suited={suited.map((i) => i.name)} isolate={isolate} />
        <Size form={form} />
        <How form={form} networks={networks} />
        <Volumes {...{ form, project }} />
        {draft.isolation !== 'vm' && <Secrets {...{ form, project }} />}
        <StartsAfter {...{ form, project }} />
        <Probes form={form} />
        {draft.isolation === 'container' && <Resources form={form} />}
        {draft.isolation === 'container' && <Isolating form={form} />}
        {draft.isolation !== 'vm' && <Names form={form} />}
      </div>
      <div className="stack create-side">
        <Panel title="Where it would go">
          {preview.data === undefined && preview.error === null && <Waiting rows={3} />}
          {preview.error !== null && <Failure error={preview.error} />}
          {preview.data !== undefined && preview.error === null && (
            <div aria-live="polite">
              <DecisionView decision={preview.data.decision} narrow />
              {preview.data.decision.outcome === 'unplaced' && (
                <p className="flat dim small">
                  It can be created all the same: it waits, and starts as soon as a host fits.
                </p>
              )}
            </div>
          )}
        </Panel>
        {create.isError && <Failure error={create.error} />}
        <Button type="submit" loading={create.isPending} fullWidth>
          Create {draft.name}
        </Button>
      </div>
    </form>
  );
}

function What(props: {
  form: Form;
  suited: readonly string[];
  isolate: (isolation: Draft['isolation']) => void;
}) {
  const { form, suited, isolate } = props;
  const { draft, change, error } = form;
  return (
    <Panel title="What">
      <div className="fields">
        <Text
          form={form}
          of="name"
          label="Name"
          at="/name"
          required
          withAsterisk={false}
          autoFocus
          description='Lower-case letters, digits and "-"; its host name inside'
        />
        <div>
          <span className="label" id="isolation-label">
            Isolation
          </span>
          <SegmentedControl
            aria-labelledby="isolation-label"
            fullWidth
            value={draft.isolation}
            onChange={(v) => isolate(v as Draft['isolation'])}
            data={[
              { value: 'container', label: 'Container' },
              { value: 'microvm', label: 'microVM' },
              { value: 'vm', label: 'Virtual machine' },
            ]}
          />
        </div>
        <NativeSelect
          label="Image"
          value={draft.image}
          error={error('/spec/image')}
          onChange={(e) => change({ image: e.currentTarget.value })}
          data={
            suited.length === 0
              ? [{ value: '', label: `no ${kindFor(draft.isolation)} image here` }]
              : [...suited]
          }
        />
        <Text form={form} of="labels" label="Labels" at="/labels" placeholder="tier=web,zone=a" />
      </div>
    </Panel>
  );
}

function Size({ form }: { form: Form }) {
  const { isolation } = form.draft;
  const vm = isolation === 'vm';
  return (
    <Panel title="Size">
      <div className="fields">
        {isolation === 'container' ? (
          <Num
            form={form}
            of="cpuMillis"
            label="Processor, thousandths"
            at="/spec/cpuMillis"
            placeholder="100: a tenth of one"
          />
        ) : (
          <Num form={form} of="vcpus" label="Virtual processors" at="/spec/vcpus" />
        )}
        {vm && (
          <Num
            form={form}
            of="maxVcpus"
            label="Virtual processors it can get"
            at="/spec/maxVcpus"
            placeholder="as it starts"
          />
        )}
        <Num form={form} of="memoryMiB" label="Memory, MiB" at="/spec/memoryMiB" />
        {vm && (
          <Num
            form={form}
            of="maxMemoryMiB"
            label="Memory it can grow to, MiB"
            at="/spec/maxMemoryMiB"
            placeholder="as it starts"
          />
        )}
        {vm && (
          <Num
            form={form}
            of="numaNodes"
            label="NUMA nodes"
            at="/spec/numa/nodes"
            placeholder="none of its own"
          />
        )}
        <Num
          form={form}
          of="diskMiB"
          label={vm ? 'Root disk, MiB' : 'Writable layer, MiB'}
          at="/spec/rootDisk"
        />
      </div>
    </Panel>
  );
}

function How({ form, networks }: { form: Form; networks: readonly Network[] }) {
  const { draft, change, error } = form;
  return (
    <Panel title="How">
      <div className="fields">
        <Networks
          all={networks}
          chosen={draft.networks}
          error={error('/spec/nics/0/network')}
          onChange={(chosen) => change({ networks: chosen })}
        />
        {draft.networks.length > 0 && (
          <Text
            form={form}
            of="address"
            label="Address"
            at="/spec/nics/0/address"
            placeholder="the lowest free one"
            className="mono-input"
          />
        )}
        <NativeSelect
          label="When it ends"
          value={draft.restart}
          error={error('/spec/restart')}
          onChange={(e) => change({ restart: e.currentTarget.value as Draft['restart'] })}
          data={[
            { value: 'never', label: 'leave it ended' },
            { value: 'onFailure', label: 'restart on failure' },
            { value: 'always', label: 'restart always' },
          ]}
        />
        <Text
          form={form}
          of="selector"
          label="Only on hosts labelled"
          at="/spec/placement"
          placeholder="zone=a"
        />
        {draft.isolation === 'vm' ? <Machine form={form} /> : <Program form={form} />}
      </div>
    </Panel>
  );
}

/** What an OCI image runs. */
function Program({ form }: { form: Form }) {
  const { draft, change, error } = form;
  return (
    <>
      <Text
        form={form}
        of="args"
        label="Arguments"
        at="/spec/process/args"
        placeholder="the image's own"
        className="mono-input"
      />
      <Textarea
        label="Environment"
        className="mono-input"
        placeholder={'KEY=value, one per line'}
        autosize={false}
        rows={3}
        value={draft.env}
        error={error('/spec/process/env')}
        onChange={(e) => change({ env: e.currentTarget.value })}
      />
    </>
  );
}

/** What a machine is made of. */
function Machine({ form }: { form: Form }) {
  const { draft, change, error } = form;
  return (
    <>
      <Text
        form={form}
        of="cpuModel"
        label="Processor model"
        at="/spec/cpu/model"
        placeholder="its host's choice"
        className="mono-input"
      />
      <NativeSelect
        label="Firmware"
        value={draft.firmware}
        error={error('/spec/firmware')}
        onChange={(e) => change({ firmware: e.currentTarget.value as Draft['firmware'] })}
        data={[
          { value: 'bios', label: 'BIOS' },
          { value: 'uefi', label: 'UEFI' },
          { value: 'secureBoot', label: 'UEFI with secure boot' },
        ]}
      />
      <Check form={form} of="tpm" label="TPM 2.0" at="/spec/tpm" />
      <Check form={form} of="vsock" label="Sockets between it and its host (vsock)" at="/spec/vsock" />
      <Check form={form} of="numaBound" label="Bound to NUMA nodes of its host" at="/spec/numa/placement" />
      <Textarea
        label="cloud-init user data"
        className="mono-input"
        placeholder="#cloud-config"
        rows={4}
        value={draft.userData}
        error={error('/spec/userData')}
        onChange={(e) => change({ userData: e.currentTarget.value })}
      />
    </>
  );
}

/** The network of the first nic, which has the way out, and those of further nics. */
function Networks(props: {
  all: readonly Network[];
  chosen: readonly string[];
  error: string | undefined;
  onChange: (chosen: readonly string[]) => void;
}) {
  const { all, chosen, error, onChange } = props;
  const [first = '', ...further] = chosen;
  const others = all.filter((n) => n.name !== first);
  return (
    <div className="stack">
      <NativeSelect
        label="Network"
        value={first}
        error={error}
        onChange={({ currentTarget: { value } }) =>
          onChange(value === '' ? [] : [value, ...further.filter((n) => n !== value)])
        }
        data={[
          ...all.map((n) => ({ value: n.name, label: `${n.name} (${n.cidr})` })),
          { value: '', label: 'none' },
        ]}
      />
      {first !== '' &&
        others.map((n) => (
          <Checkbox
            key={n.id}
            label={`also ${n.name} (${n.cidr})`}
            checked={further.includes(n.name)}
            onChange={({ currentTarget: { checked } }) =>
              onChange([first, ...further.filter((f) => f !== n.name), ...(checked ? [n.name] : [])])
            }
          />
        ))}
    </div>
  );
}

/** The decision that would be made, asked for when the typing pauses. The old one stays until the new one comes. */
function usePreview(project: string, draft: Draft) {
  const wanted = JSON.stringify(specOf(draft));
  const [spec, setSpec] = useState(wanted);
  useEffect(() => {
    const timer = window.setTimeout(() => setSpec(wanted), 250);
    return () => clearTimeout(timer);
  }, [wanted]);
  return useQuery({
    queryKey: ['preview', project, spec],
    queryFn: () =>
      answer(
        api.rest.POST('/v1/projects/{project}/decisions/preview', {
          params: { path: { project } },
          body: { spec: JSON.parse(spec) as ReturnType<typeof specOf> },
        }),
      ),
    placeholderData: (old) => old,
    gcTime: 0,
  });
}
