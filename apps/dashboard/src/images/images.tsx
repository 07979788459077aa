import { Button, NativeSelect, TextInput } from '@mantine/core';
import { answer } from '@berth/client';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { Link, useParams } from '@tanstack/react-router';
import { useRef, useState, type FormEvent } from 'react';
import { api, type Image } from '../api/client.js';
import { fieldSaid, said } from '../api/problem.js';
import { imagesQuery } from '../api/queries.js';
import { covers, sessionQuery } from '../api/session.js';
import { ActionsHead } from '../parts/actions-head.js';
import { bytes, mib, shortDigest } from '../parts/format.js';
import { Icon } from '../parts/icons.js';
import { Empty, Failure, Waiting } from '../parts/notices.js';
import { Page, Panel } from '../parts/page.js';
import { Confirmed } from '../parts/confirm.js';
import { Time } from '../parts/time.js';
import { ImportUrl } from './import-url.js';
import { Registries } from './registries.js';
import { type ImageKind, imageUpload, kindGuess, kindLabels, nameFrom } from './upload.js';

export function ImagesPage() {
  const { project } = useParams({ from: '/inside/p/$project/images' });
  const operator = covers(useQuery(sessionQuery).data, 'operator');
  const { data, error, refetch } = useQuery(imagesQuery(project));
  return (
    <Page title="Images">
      {operator && <Upload project={project} />}
      {operator && <ImportUrl project={project} />}
      {error !== null && <Failure error={error} retry={() => void refetch()} />}
      {data === undefined && error === null && <Waiting />}
      {data?.length === 0 && (
        <Empty title="No images yet">
          <p className="flat">
            An OCI archive (skopeo copy … oci-archive:file.tar) runs as a container, a qcow2 or raw disk as a
            virtual machine.
          </p>
        </Empty>
      )}
      {data !== undefined && data.length > 0 && (
        <table className="list">
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col">Kind</th>
              <th scope="col" className="num">
                Size
              </th>
              <th scope="col" className="from-l">
                Digest
              </th>
              <th scope="col" className="from-m">
                On hosts
              </th>
              <th scope="col" className="from-m">
                Imported
              </th>
              {operator && <ActionsHead />}
            </tr>
          </thead>
          <tbody>
            {data.map((image) => (
              <tr key={image.id}>
                <td className="main-cell">
                  {image.kind === 'iso' ? (
                    image.name
                  ) : (
                    <Link
                      to="/p/$project/create"
                      params={{ project }}
                      search={{ image: image.name }}
                      title="Create an instance from it"
                    >
                      {image.name}
                    </Link>
                  )}
                </td>
                <td>{contentText(image.content)}</td>
                <td className="num nowrap">{bytes(image.sizeBytes)}</td>
                <td className="from-l mono dim" title={image.digest}>
                  {shortDigest(image.digest)}
                </td>
                <td className="from-m">
                  {image.hosts.length === 0 ? (
                    <span className="dim">none yet</span>
                  ) : (
                    image.hosts.map((h) => h.name).join(', ')
                  )}
                </td>
                <td className="from-m dim">
                  <Time at={image.createdAt} />
                </td>
                {operator && (
                  <td className="actions-cell">
                    <Remove image={image} />
                  </td>
                )}
              </tr>
            ))}
          </tbody>
        </table>
      )}
      {operator && <Registries project={project} />}
    </Page>
  );
}

function Remove({ image }: { image: Image }) {
  const client = useQueryClient();
  const { project, name } = image;
  const remove = useMutation({
    mutationFn: () =>
      answer(
        api.rest.DELETE('/v1/projects/{project}/images/{name}', { params: { path: { project, name } } }),
      ),
    onSuccess: () => void client.invalidateQueries({ queryKey: ['images', project] }),
  });
  return (
    <Confirmed
      act={remove}
      icon="trash"
      verb="Delete"
      label={`Delete ${name}`}
      title={`Delete image ${name}?`}
      name={name}
    >
      <p className="flat">Instances that use it keep it from being deleted; what they wrote is not in it.</p>
    </Confirmed>
  );
}

function contentText(content: Image['content']): string {
  if (content.kind === 'disk') return `disk, ${content.format}, ${mib(content.virtualSizeMiB)}`;
  if (content.kind === 'iso') return content.bootable ? 'iso, bootable' : 'iso';
  return 'oci';
}

function Upload({ project }: { project: string }) {
  const client = useQueryClient();
  const chooser = useRef<HTMLInputElement>(null);
  const stop = useRef<AbortController | null>(null);
  const [file, setFile] = useState<File | null>(null);
  const [name, setName] = useState('');
  const [kind, setKind] = useState<ImageKind>('oci');
  const [share, setShare] = useState(0);
  const upload = useMutation({
    mutationFn: (chosen: File) => {
      stop.current = new AbortController();
      setShare(0);
      return imageUpload(project, { name, kind }, chosen, setShare, stop.current.signal);
    },
    onSuccess: () => {
      setFile(null);
      void client.invalidateQueries({ queryKey: ['images', project] });
    },
  });
  const choose = async (chosen: File | undefined): Promise<void> => {
    if (chosen === undefined) return;
    upload.reset();
    setFile(chosen);
    setName(nameFrom(chosen.name));
    setKind(await kindGuess(chosen));
  };
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    if (file !== null) upload.mutate(file);
  };
  const problem = said(upload.error);
  return (
    <Panel title="Upload an image" className="upload">
      <form
        onSubmit={submit}
        className="upload-form"
        onDragOver={(e) => e.preventDefault()}
        onDrop={(e) => {
          e.preventDefault();
          void choose(e.dataTransfer.files[0]);
        }}
      >
        <input
          ref={chooser}
          type="file"
          className="hidden"
          tabIndex={-1}
          aria-label="Image file"
          onChange={(e) => void choose(e.currentTarget.files?.[0])}
        />
        <Button
          variant="default"
          leftSection={<Icon name="up" />}
          onClick={() => chooser.current?.click()}
          disabled={upload.isPending}
        >
          {file === null ? 'Choose or drop a file' : `${file.name}, ${bytes(file.size)}`}
        </Button>
        {file !== null && (
          <>
            <TextInput
              aria-label="Name"
              placeholder="Name"
              value={name}
              error={fieldSaid(problem.fields, 'query/name')}
              onChange={(e) => setName(e.currentTarget.value)}
              disabled={upload.isPending}
              autoComplete="off"
            />
            <NativeSelect
              aria-label="Kind"
              value={kind}
              onChange={(e) => setKind(e.currentTarget.value as ImageKind)}
              data={[...kindLabels]}
              disabled={upload.isPending}
            />
            {upload.isPending ? (
              <Button variant="default" onClick={() => stop.current?.abort()}>
                Cancel
              </Button>
            ) : (
              <Button type="submit" disabled={name === ''}>
                Upload
              </Button>
            )}
          </>
        )}
      </form>
      {upload.isPending && (
        <div className="meter" role="status">
          <div className="meter-words">
            <span>{share < 1 ? 'Uploading' : 'Verifying'}</span>
            <span>{Math.round(share * 100)} %</span>
          </div>
          <div className="bar" aria-hidden="true">
            <div style={{ width: `${share * 100}%` }} />
          </div>
        </div>
      )}
      {upload.isError && <Failure error={upload.error} />}
    </Panel>
  );
}
