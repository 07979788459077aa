/** Head of a table's column of buttons, which only those who do not see them need. */
export function ActionsHead() {
  return (
    <th scope="col">
      <span className="hidden">Actions</span>
    </th>
  );
}
