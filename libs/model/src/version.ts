/** Version of all parts; what an agent says of itself in its first words to the API. */
export const berthVersion = '0.1.0';
