import { Link } from '@tanstack/react-router';
import { Icon } from '../parts/icons.js';

export function CreateLink({ project, image }: { project: string; image?: string }) {
  return (
    <Link
      className="button-link"
      to="/p/$project/create"
      params={{ project }}
      search={image === undefined ? {} : { image }}
    >
      <Icon name="plus" />
      Create instance
    </Link>
  );
}
